// Draws a spectrogram (log mel over time, 80 dB) of samples on a canvas.
const BANDS = 96, SIZE = 512;

function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) { [re[i], re[j]] = [re[j], re[i]]; [im[i], im[j]] = [im[j], im[i]]; }
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2, angle = -2 * Math.PI / size;
    for (let k = 0; k < half; k++) {
      const c = Math.cos(angle * k), s = Math.sin(angle * k);
      for (let i = k; i < n; i += size) {
        const j = i + half, a = re[j] * c - im[j] * s, b = re[j] * s + im[j] * c;
        re[j] = re[i] - a; im[j] = im[i] - b; re[i] += a; im[i] += b;
      }
    }
  }
}

function logMel(samples, rate, columns) {
  const mel = f => 2595 * Math.log10(1 + f / 700), top = mel(Math.min(8000, rate / 2));
  const edges = Array.from({ length: BANDS + 1 }, (_, i) =>
    Math.round(700 * (10 ** (i / BANDS * top / 2595) - 1) / rate * SIZE));
  const window = Float32Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / SIZE));
  const image = new Float32Array(columns * BANDS);
  for (let x = 0; x < columns; x++) {
    const at = Math.round((x + 0.5) / columns * samples.length - SIZE / 2);
    const re = new Float32Array(SIZE), im = new Float32Array(SIZE);
    for (let i = 0; i < SIZE; i++) re[i] = (samples[at + i] || 0) * window[i];
    fft(re, im);
    for (let band = 0; band < BANDS; band++) {
      let power = 1e-10;
      for (let k = edges[band]; k <= Math.max(edges[band], edges[band + 1] - 1); k++)
        power = Math.max(power, re[k] * re[k] + im[k] * im[k]);
      image[x * BANDS + band] = 10 * Math.log10(power);
    }
  }
  return image;
}

function drawSpectrogram(canvas, samples, rate) {
  const columns = canvas.width, image = logMel(samples, rate, columns);
  const high = image.reduce((a, b) => Math.max(a, b), -100), context = canvas.getContext("2d");
  const pixels = context.createImageData(columns, BANDS);
  for (let x = 0; x < columns; x++) for (let band = 0; band < BANDS; band++) {
    const v = Math.max(0, 1 + (image[x * BANDS + band] - high) / 80), at = 4 * ((BANDS - 1 - band) * columns + x);
    pixels.data[at] = 255 * Math.min(1, 2.2 * v * v);
    pixels.data[at + 1] = 255 * Math.max(0, v * v * 1.1 - 0.1);
    pixels.data[at + 2] = 255 * (v < 0.5 ? 0.25 + 0.6 * v : Math.max(0.2, 1.1 - 1.1 * v) + 0.5 * Math.max(0, v - 0.8));
    pixels.data[at + 3] = 255;
  }
  canvas.height = BANDS;
  context.putImageData(pixels, 0, 0);
}

async function decode(bytes) {  // bytes of a sound file to { samples, rate }
  const buffer = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes);
  return { samples: buffer.getChannelData(0), rate: buffer.sampleRate };
}
