// From values to pixels and back.

/**
 * A scale: {of: value -> pixel, back: pixel -> value, ticks: [values]}. A logarithmic one has positive values.
 *
 * style: {log, spacing: pixels between ticks, whole: ticks are whole numbers, bytes: they are round in powers of 1024}
 */
function scale(domain, range, { log, spacing, whole, bytes: inBytes }) {
  const [low, high] = domain.map((value) => (log ? Math.log10(value) : value));
  const span = high - low || 1;
  const of = (value) => {
    const place = log ? Math.log10(value) : value;
    return range[0] + ((place - low) / span) * (range[1] - range[0]);
  };
  const back = (pixel) => {
    const place = low + ((pixel - range[0]) / (range[1] - range[0])) * span;
    return log ? 10 ** place : place;
  };
  const room = Math.max(2, Math.floor(Math.abs(range[1] - range[0]) / spacing));
  const unit = inBytes ? 1024 ** Math.floor(Math.log2(Math.max(1, domain[1])) / 10) : 1;
  const ticks = log ? logTicks(domain, room) : linearTicks(domain.map((value) => value / unit), room).map((tick) => tick * unit);
  return { of, back, ticks: whole ? ticks.filter(Number.isInteger) : ticks };
}

/** A domain with some width; all values may be one, or differ by rounding alone. */
function widened([low, high], log) {
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (high - low > 1e-6 * size) return [low, high];
  return log ? [low / 1.5, high * 1.5] : [low - (0.01 * size || 1), high + (0.01 * size || 1)];
}

/** Round values about `room` in number. */
function linearTicks([low, high], room) {
  if (!(high - low > 1e-12 * Math.max(Math.abs(low), Math.abs(high)))) return [low];
  const rough = (high - low) / room;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) {
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}

/** Powers of ten, thinned to about `room`; within few decades multiples of them too. */
function logTicks([low, high], room) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const decades = Math.log10(high) - Math.log10(low);
  if (decades < 0.5) return linearTicks([low, high], room);
  const factors = decades * 1.6 <= room ? [1, 2, 5] : [1];
  const skip = Math.max(1, Math.ceil((last - first) / room));
  const ticks = [];
  for (let power = first; power <= last; power += skip) {
    ticks.push(...factors.map((factor) => Number((factor * 10 ** power).toPrecision(3))));
  }
  const inside = ticks.filter((tick) => tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9));
  return inside.length > 1 ? inside : linearTicks([low, high], room);
}

/** A label of an axis. */
function tickText(value) {
  const size = Math.abs(value);
  if (size >= 1e12 || (size < 1e-3 && size > 0)) return value.toExponential(1).replace(".0e", "e").replace("e+", "e");
  const unit = [[1e9, "G"], [1e6, "M"], [1e4, "k"]].find(([limit]) => size >= limit);
  if (unit) return Number((value / (unit[1] === "k" ? 1e3 : unit[0])).toPrecision(3)) + unit[1];
  return Number(value.toPrecision(4)).toString();
}
