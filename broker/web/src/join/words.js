/** Chinese words of the guests' page. */
import { addWords } from "../lib/i18n.js";

export const WORDS = {
  "See somebody's desktop": "查看他人的桌面",
  "You were sent a link to a desktop. Its owner is told your name and asked whether you may come in.":
    "您收到了一个桌面链接。系统会把您的名字告诉主人，并询问是否允许您进入。",
  "Your name": "您的名字",
  "Ask to come in": "请求进入",
  "Please wait": "请稍候",
  "The owner is asked whether you may come in. This page goes on by itself.":
    "正在询问主人是否允许您进入，本页会自动继续。",
  "Not this time": "未获允许",
  "You were not let in.": "主人没有允许您进入。",
  "It is over": "已结束",
  "You do not see the desktop any more: that was ended, or its time is over.":
    "您已不能查看此桌面：共享已被结束或已到期。",
  Leave: "离开",
  "You left": "您已离开",
  "You do not see the desktop any more.": "您已不再查看此桌面。",
  "This link is over": "链接已过期",
  "It was good for some time alone. Ask for a new one.": "链接只在一段时间内有效，请索取新的链接。",
  "This link leads nowhere": "链接无效",
  "It was mistyped, its time is over, or it was ended. Ask for a new one.":
    "链接输入有误、已过期或已被结束，请索取新的链接。",
  "A link is needed": "需要链接",
  "This page shows a desktop to whoever was sent a link to it.": "此页面向收到链接的人显示桌面。",

  "This link does not count any more: ask for a new one.": "此链接已失效，请索取新的链接。",
  "Whoever shares this desktop did not let you in.": "桌面主人没有允许您进入。",
  "Whoever shares this desktop has let you go.": "桌面主人已请您离开。",
  "Whoever shared this desktop has ended that.": "桌面主人已结束共享。",
  "The time of this share is over.": "共享时间已到。",
  "Desktops are not shared here any more.": "这里不再共享桌面。",
  "You have left.": "您已离开。",
  "Nobody answered: ask whoever gave you the link, and come again.":
    "没有人答复：请联系给您链接的人，然后重试。",
  "Nobody was there to let you in: ask whoever gave you the link, and come again.":
    "没有人在场让您进入：请联系给您链接的人，然后重试。",
  "The desktop that is shared does not run just now: ask whoever gave you the link.":
    "共享的桌面目前没有运行：请联系给您链接的人。",
};

addWords("zh", WORDS);
