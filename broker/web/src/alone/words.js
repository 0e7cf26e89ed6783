/** Chinese words of the page of an image that stands alone. */
import { addWords } from "../lib/i18n.js";

addWords("zh", {});
