export interface P { [k: string]: number }
export const params: P = {"warm": 12, "afast": 0.25, "amed": 0.06, "floorY": 0.06, "floor0": 0.2, "width0": 0.3, "power": 2, "errMem": 150, "scaleMem": 400, "clip": 2, "prior": 60, "dof": 6, "zMem": 1000, "learnAnom": 0.15, "alertL": 2.5, "meanA": 0.35, "quiet": 3, "adoptRows": 24, "slowRows": 200, "slowView": 1, "meanView": 1, "slotMem": 10, "frozen": 0.05, "shrink": 12, "stepK": 0.4, "sMul": 1.5, "zClip": 12, "sum": 0, "signed": 0, "view3": 0};
const HOUR = 3_600_000;
const EDGES = 80;
function binOf(z: number): number { return Math.min(EDGES - 1, Math.floor(Math.log1p(z) * 14)); }
function binLow(b: number): number { return Math.expm1(b / 14); }
function priorTail(z: number, dof: number): number { return (1 + (z * z) / dof) ** (-(dof ) / 2); }

class Tail {
  w = new Float64Array(EDGES); n = 0;
  level(z: number): number { // -log10 p
    const b = binOf(z);
    let above = 0;
    for (let i = b + 1; i < EDGES; i++) above += this.w[i]!;
    const lo = binLow(b), hi = binLow(b + 1);
    above += this.w[b]! * Math.max(0, Math.min(1, (hi - z) / (hi - lo)));
    const pr = params.prior!;
    const p = (above + pr * priorTail(z, params.dof!)) / (this.n + pr);
    return -Math.log10(p);
  }
  add(z: number, w: number): void {
    const keep = 1 - 1 / params.zMem!;
    if (this.n > params.zMem! / 2) { for (let i = 0; i < EDGES; i++) this.w[i]! *= keep; this.n *= keep; }
    this.w[binOf(z)]! += w; this.n += w;
  }
}

class Scale { // Huberised mean absolute deviation
  mad = 0; n = 0;
  constructor(public mem: number) {}
  add(r: number, floor: number): void {
    const a = Math.max(1 / (this.n + 1), 1 / this.mem);
    const cap = this.n < 3 ? Infinity : params.clip! * Math.max(this.mad, floor);
    this.mad += a * (Math.min(Math.abs(r), cap) - this.mad);
    this.n++;
  }
}

export function createSeries() {
  const P = params;
  let s = 0; const warm: number[] = [];
  let integers = true; let negative = false;
  let fast = 0, med = 0, slow = 0, fastD = 0, fastW = 0, slowD = 0, slowW = 0;
  let base = 0; // day level
  const D = new Float64Array(24), Dn = new Float64Array(24), W = new Float64Array(168), Wn = new Float64Array(168);
  const err = new Float64Array(7).fill(0); let errN = 0;
  const scaleF = new Scale(P.scaleMem!), scaleS = new Scale(P.scaleMem!);
  const slotF = Array.from({ length: 24 }, () => new Scale(P.scaleMem! / 4));
  const slotS = Array.from({ length: 24 }, () => new Scale(P.scaleMem! / 4));
  const tails = [new Tail(), new Tail(), new Tail()]; const downs = [new Tail(), new Tail(), new Tail()]; const T = (i: number, z: number): Tail => (P.signed && z < 0 ? downs[i]! : tails[i]!);
  let meanZ = 0;
  let step = 0, last = NaN;
  let episode = false, quietFor = 0, episodeRows = 0, shadow = 0, shadowDev = 0; let peak: number[] = [0, 0, 0]; const peakS = [0, 0, 0];
  let n = 0;
  const Y = (v: number): number => (s === 0 ? 0 : Math.asinh(v / s));
  const V = (y: number): number => Math.sinh(y) * (s || 1);
  const floorAt = (y: number): number => {
    let f = P.floorY! + (P.floor0! ) * Math.exp(-((y / P.width0!) ** 2));
    if (integers && !negative && s > 0) {
      const v = Math.abs(V(y));
      f = Math.max(f, Math.sqrt(v + 1) / Math.sqrt(v * v + s * s) * 0.8);
    }
    return f;
  };
  return {
    observe(t: number, value: number) {
      if (!Number.isFinite(value) || !Number.isFinite(t)) return { expected: NaN, low: NaN, high: NaN, score: 0, alert: false };
      if (!Number.isNaN(last) && t > last) { const dt = t - last; step = step === 0 ? dt : step + Math.max(-0.1 * step, Math.min(0.1 * step, dt - step)) * (n < 20 ? 1 : 0.3); }
      last = t; n++;
      if (!Number.isInteger(value)) integers = false;
      if (value < 0) negative = true;
      if (s === 0) {
        // until scale known
        warm.push(Math.abs(value));
        if (warm.length >= P.warm! ) {
          const sorted = [...warm].sort((a, b) => a - b);
          const m = sorted[sorted.length >> 1]!;
          s = (m > 0 ? m : sorted.at(-1)!) * P.sMul!;
          if (warm.length > P.warm!) warm.shift();
          if (s > 0) {
            const ys = warm.map((v) => Y(v)).sort((a, b) => a - b); // ignoring sign
            const y0 = m > 0 ? Y(value < 0 ? -m : m) : 0;
            fast = med = slow = base = fastD = fastW = slowD = slowW = y0;
            for (const y of ys) { scaleF.add(y - Math.abs(y0), floorAt(y0)); scaleS.add(y - Math.abs(y0), floorAt(y0)); }
            errN = 1; err.fill(scaleF.mad + 0.01);
          }
        }
        if (s === 0 || m0()) return { expected: 0, low: 0, high: 0, score: 0, alert: false };
      }
      function m0(): boolean { return warm.length <= P.warm! && n <= P.warm!; }
      const y = Y(value);
      const hour = Math.floor(t / HOUR), hd = ((hour % 24) + 24) % 24, hw = (((hour + 96) % 168) + 168) % 168;
      // interpolate for fine steps
      const seas = (A: Float64Array, N: Float64Array, len: number, h: number): { v: number; ok: boolean } => {
        if (step >= HOUR / 2) return { v: A[h]!, ok: N[h]! >= 2 };
        const f = (t / HOUR - hour) - 0.5; const o = f < 0 ? (h + len - 1) % len : (h + 1) % len;
        const minN = 2 * HOUR / Math.max(step, 1000) * 0.5;
        const okh = N[h]! >= minN, oko = N[o]! >= minN / 2;
        if (!okh) return { v: 0, ok: false };
        return oko ? { v: A[h]! + Math.abs(f) * (A[o]! - A[h]!), ok: true } : { v: A[h]!, ok: true };
      };
      const sd = seas(D, Dn, 24, hd), sw = seas(W, Wn, 168, hw);
      const preds = [fast, med, fastD + sd.v, slowD + sd.v, fastW + sw.v, slowW + sw.v, slow];
      const ok = [true, true, sd.ok, sd.ok, sw.ok, sw.ok, true];
      const combine = (ids: number[]): number => {
        let sum = 0, ws = 0;
        for (const i of ids) if (ok[i]) { const w = (err[i]! + 0.003) ** -P.power!; sum += w * preds[i]!; ws += w; }
        return sum / ws;
      };
      const yF = combine([0, 1, 2, 3, 4, 5]);
      const yS = combine([3, 5, 6]);
      const sc = (g: Scale, sl: Scale[], yy: number): number => {
        const slot = sl[hd]!; const w = slot.n / (slot.n + P.shrink! * Math.max(1, HOUR / Math.max(step, 1)));
        const mad = Math.max(g.mad * (1 - w) + slot.mad * w, 0);
        return 1.25 * Math.max(mad, floorAt(yy)) * (1 + 3 / (g.n + 1));
      };
      const cF = sc(scaleF, slotF, yF), cS = sc(scaleS, slotS, yS);
      const zF = (y - yF) / cF, zS = (y - yS) / cS;
      meanZ += P.meanA! * (Math.max(-P.zClip!, Math.min(P.zClip!, zF)) - meanZ);
      const zM = meanZ / Math.sqrt(P.meanA! / (2 - P.meanA!));
      const sg = [zF, zS, zM]; const zs = [Math.abs(zF), Math.abs(zS) * P.slowView!, Math.abs(zM) * P.meanView!];
      let L = 0;
      zs.forEach((z, i) => { L = Math.max(L, T(i, sg[i]!).level(z)); });
      L = Math.max(0, L - P.stepK! * Math.log10(Math.max(1, HOUR / Math.max(step, 1000))));
      const over = L >= P.alertL!;
      let alert = false;
      if (over) { if (!episode) { alert = true; episode = true; episodeRows = 0; shadow = y; shadowDev = cF; peak = [0, 0, 0]; } quietFor = 0; }
      else if (episode && ++quietFor >= P.quiet!) { episode = false; zs.forEach((_, i) => T(i, peakS[i]!).add(peak[i]!, P.learnAnom!)); }
      // learn
      const rowsPerHour = Math.max(1, HOUR / Math.max(step, 1));
      if (episode) { episodeRows++; zs.forEach((z, i) => { if (z > peak[i]!) { peak[i] = z; peakS[i] = sg[i]!; } }); shadow += 0.1 * (y - shadow); }
      const adoptAfter = Math.max(P.adoptRows!, Math.min(300, 24 * rowsPerHour));
      if (episode && episodeRows >= adoptAfter) {
        const d = shadow;
        fast = med = d; slow = d; slowD = fastD = d - sd.v; fastW = slowW = d - sw.v; base += d - yF; meanZ = 0;
        episode = false; zs.forEach((_, i) => T(i, peakS[i]!).add(peak[i]!, P.learnAnom!));
      }
      const gate = over ? P.frozen! : episode ? 0.3 : 1;
      if (gate > 0) {
        const e = Math.max(1 / (errN + 1), 1 / P.errMem!); errN++;
        for (let i = 0; i < 7; i++) if (ok[i]) err[i]! += e * (Math.min(Math.abs(y - preds[i]!), 4 * cF) - err[i]!);
        const lim = (a: number, p: number): number => a * gate * (y - p);
        fast += lim(P.afast!, fast); med += lim(P.amed!, med); const sa = Math.max(1 / (n + 1), 1 / P.slowRows!); slow += lim(sa, slow);
        fastD += lim(P.afast!, preds[2]!); slowD += lim(sa, preds[3]!); fastW += lim(P.afast!, preds[4]!); slowW += lim(sa, preds[5]!);
        base += lim(Math.max(1 / (n + 1), 1 / (24 * rowsPerHour)), base);
        if (!over) {
          scaleF.add(y - yF, floorAt(yF)); slotF[hd]!.add(y - yF, floorAt(yF)); scaleS.add(y - yS, floorAt(yS)); slotS[hd]!.add(y - yS, floorAt(yS));
          zs.forEach((z, i) => T(i, sg[i]!).add(z, 1));
        }
        const upd = (A: Float64Array, N: Float64Array, h: number): void => { N[h]!++; const a = Math.max(1 / N[h]!, 1 / (P.slotMem! * rowsPerHour)); A[h]! += a * gate * (y - base - A[h]!); };
        upd(D, Dn, hd); upd(W, Wn, hw);
      }
      const score = 1 - 2 ** (-L / P.alertL!);
      return { expected: V(yF), low: V(yF - 3 * cF), high: V(yF + 3 * cF), score, alert };
    },
  };
}
