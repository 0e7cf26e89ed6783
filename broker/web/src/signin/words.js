/** Chinese words of signing in. */
import { addWords } from "../lib/i18n.js";

export const WORDS = {
  "Sign in": "登录",
  "Signing in …": "正在登录……",
  "User name": "用户名",
  Password: "密码",
  or: "或",
  "Sign in with {name}": "使用 {name} 登录",
  "Try again": "重试",
  "With a key, but no password?": "只有密钥，没有密码？",
  "This prints a link that signs you in:": "此命令会给出一个登录链接：",
  "One-time code": "一次性验证码",
  "The six digits that your authenticator shows now, or one of your recovery codes.":
    "请输入验证器当前显示的六位数字，或一个恢复码。",
  Code: "验证码",
  "Start again": "重新开始",
  "Desk cannot be reached": "无法连接 Desk",
  "Set up one-time codes first": "请先设置一次性验证码",
  "Your account asks for a code at each sign-in. It takes an app on your phone, and a minute.":
    "您的账户每次登录都需要验证码。只需手机上的一个应用和一分钟时间。",
  "Any authenticator does: Aegis, FreeOTP, 2FAS, Google Authenticator, a password manager.":
    "任何验证器都可以：Aegis、FreeOTP、2FAS、Google Authenticator 或密码管理器。",
  "Show what my phone needs": "显示二维码",
  "1. Scan this with your authenticator.": "1. 用验证器扫描此二维码。",
  "A QR code with the secret below": "包含下方密钥的二维码",
  "It cannot be scanned?": "无法扫描？",
  "2. Type the code that it shows now.": "2. 输入它当前显示的验证码。",
  Confirm: "确认",
  "One-time codes are set up.": "一次性验证码已设置。",
  "These recovery codes let you in without your phone, each once. They are shown now and never again: keep them.":
    "没有手机时可用这些恢复码登录，每个只能用一次。它们只显示这一次，请妥善保存。",
  "Copy all": "全部复制",
  "I have kept them": "我已保存",

  "Signing in there did not work. Try again.": "在那里登录未成功，请重试。",
  "You have no account here, or it may not be used in a browser.":
    "您在这里没有账户，或该账户不能在浏览器中使用。",
  "Who would say who you are does not answer. Try again later.": "身份提供方没有响应，请稍后重试。",
  "Too many wrong tries. Try again later.": "错误次数过多，请稍后重试。",
  "Too many sign-ins are under way. Try again later.": "正在登录的人过多，请稍后重试。",
  "Signing in there is not set up any more.": "该登录方式已不可用。",
  "That did not work: the name, the password, the code or the link is wrong or too old.":
    "登录失败：用户名、密码、验证码或链接有误或已过期。",
  "That is not the code of just now. Look at the clocks of this device and of the one with the authenticator, and try the next code.":
    "这不是当前的验证码。请检查两台设备的时间，并尝试下一个验证码。",
};

addWords("zh", WORDS);
