export { createSeries, type Series, type SeriesRow } from './series.ts';
