/** Chinese words of the page of an image that stands alone. */
import { addWords } from "../lib/i18n.js";

export const WORDS = {
  "Open the desktop": "打开桌面",
  "Password of the user desk": "用户 desk 的密码",
  "It is the one for ssh: the first line of the container's log tells it.": "与 ssh 的密码相同：容器日志的第一行会显示它。",
  "That is not the password.": "密码不正确。",
  "There is nothing at this address.": "此地址没有内容。",
  "This address does not take requests of other pages.": "此地址不接受其他页面的请求。",
  "Too many tries at a time.": "同时尝试的次数太多。",
};

addWords("zh", WORDS);
