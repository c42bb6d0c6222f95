import { z } from 'zod';
import { bytes } from './values.ts';

const serviceSchema = z.strictObject({
  name: z.string().min(1).describe('Name of the Kong service, or its id if it has none.'),
  identity: z
    .strictObject({
      header: z.string().min(1).optional().describe('Request header that carries the caller.'),
      cookie: z.string().min(1).optional().describe('Cookie that carries the caller.'),
      query: z.string().min(1).optional().describe('Query parameter that carries the caller.'),
      claim: z
        .string()
        .regex(/^[A-Za-z0-9._:/@-]{1,200}$/, 'allowed: 1 to 200 of A-Z a-z 0-9 . _ : / @ -')
        .optional()
        .describe(
          'Claim of the JSON Web Token there, such as sub. Alone: of the bearer token, which Kong hides from its log lines; ' +
            '`tripline kong connect` then makes Kong compute a fingerprint of it (kong.fingerprintKey).',
        ),
    })
    .refine(
      ({ header, cookie, query }) => [header, cookie, query].filter((one) => one !== undefined).length <= 1,
      { message: 'only one of header, cookie and query is allowed' },
    )
    .refine((identity) => Object.values(identity).some((one) => one !== undefined), {
      message: 'one of header, cookie, query and claim is needed',
    })
    .optional()
    .describe(
      'Who the caller is, where the service authenticates callers itself and no plugin of Kong does. Without it the address ' +
        'acts, until endpoints are seen to verify credentials.',
    ),
  authEndpoints: z
    .array(
      z.strictObject({
        path: z
          .string()
          .startsWith('/')
          .describe('Path as it is sent to Kong; * stands for any characters but a slash.'),
        method: z
          .string()
          .regex(/^[A-Z]+$/, 'allowed: a method in capitals, such as POST')
          .optional()
          .describe('Left out: POST, PUT and PATCH.'),
        failure: z
          .strictObject({
            statuses: z.array(z.int().min(200).max(599)).optional(),
            redirectTo: z
              .string()
              .min(1)
              .optional()
              .describe(
                'Path to which a failed attempt is redirected; * stands for any characters but a slash.',
              ),
            responseBytesBelow: bytes
              .optional()
              .describe('Answers of 200 are failures below this size, headers included.'),
          })
          .optional()
          .describe('What means a failed attempt besides the statuses 400, 401, 403, 422 and 429.'),
      }),
    )
    .default([])
    .describe('Endpoints at which people log in or prove who they are, besides those whose path says so.'),
});

/** What Tripline cannot know about services behind Kong. */
export const servicesSchema = z
  .array(serviceSchema)
  .default([])
  .refine((list) => new Set(list.map((one) => one.name)).size === list.length, {
    message: 'two services have the same name',
  })
  .refine(
    (list) =>
      new Set(
        list.flatMap(({ identity }) =>
          identity?.claim !== undefined && !identity.header && !identity.cookie && !identity.query
            ? [identity.claim]
            : [],
        ),
      ).size <= 1,
    { message: 'only one claim of the bearer token can be computed by Kong, the same for all services' },
  )
  .describe('What Tripline cannot know about services behind Kong.');
