// The report's values, and how they are written.

const report = JSON.parse(document.getElementById("report").textContent);
const NOTHING = "\u2013";
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** The value under a path of keys and indices; undefined where there is none. */
function at(path) {
  return path.reduce((value, key) => (value === null || value === undefined ? undefined : value[key]), report);
}

/** Text in which everything that is not a visible character is written as an escape. */
function visible(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (char) => {
    const code = char.codePointAt(0);
    if (code < 256) return "\\x" + code.toString(16).padStart(2, "0");
    return code < 65536 ? "\\u" + code.toString(16).padStart(4, "0") : "\\U" + code.toString(16).padStart(8, "0");
  });
}

/** A number as JSON has it, where NaN and infinities are text. */
function num(value) {
  return typeof value === "number" ? value : value === null || value === undefined ? NaN : Number(value);
}

/** To four digits, whole numbers to the last one. */
function number(value) {
  if (value === null || value === undefined) return NOTHING;
  if (typeof value !== "number") return visible(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  const text = size >= 1e7 || size < 1e-4
    ? value.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e")
    : Number(value.toPrecision(4)).toLocaleString("en-US", { maximumFractionDigits: 10 });
  return text.replaceAll("-", "\u2212");
}

/** A share of 1 in percent. */
function percent(share) {
  if (share === null || share === undefined || Number.isNaN(num(share))) return NOTHING;
  const hundredths = 100 * num(share);
  if (hundredths > 0 && hundredths < 0.01) return "< 0.01 %";
  return hundredths.toFixed(hundredths === 0 || hundredths === 100 ? 0 : 2) + " %";
}

/** A size in powers of 1024. */
function bytes(size) {
  if (size === null || size === undefined) return NOTHING;
  let power = 0;
  while (size >= 1024 ** (power + 1) && power < UNITS.length - 1) power += 1;
  return power === 0 ? size + " B" : (size / 1024 ** power).toFixed(1) + " " + UNITS[power];
}

/** `3 rows`, `1 row`. */
function counted(count, noun) {
  return number(count) + " " + noun + (count === 1 ? "" : "s");
}
