import { apiCallSchema } from '@tripline/model';
import { expect, it } from 'vitest';
import { loadEngine } from './embedded-lake.ts';
import { apiCallColumns } from './schema.ts';

it('has a column for each field of an API call and no other', () => {
  expect(Object.keys(apiCallColumns)).toEqual(Object.keys(apiCallSchema.shape));
});

it('says what is missing and what to do when the engine is not installed', async () => {
  const absent = (): Promise<never> =>
    Promise.reject(new Error("Cannot find package 'chdb' imported from lake.js"));
  await expect(loadEngine(absent)).rejects.toThrow(
    /needs the package chdb.*Cannot find package 'chdb'.*npm install chdb.*lake\.enabled to false/,
  );
});
