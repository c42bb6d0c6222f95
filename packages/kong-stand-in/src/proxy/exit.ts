import type { Headers } from './request.ts';

/** An answer that Kong gives itself; undefined: the request goes on. */
export type Exit = { status: number; headers?: Record<string, string>; body: string } | undefined;

export type ErrorExit = (status: number, message: string, headers?: Record<string, string>) => Exit;

/** Kong's own error answer, in the form that the client asked for. */
export function errorExit(
  status: number,
  message: string,
  headers: Headers,
  requestId: string,
): NonNullable<Exit> {
  if (String(headers['accept'] ?? '').startsWith('text/html')) {
    const lines = [
      '<!doctype html>',
      '<html>',
      '  <head>',
      '    <meta charset="utf-8">',
      '    <title>Error</title>',
      '  </head>',
      '  <body>',
      '    <h1>Error</h1>',
      `    <p>${message}.</p>`,
      `    <p>request_id: ${requestId}</p>`,
      '  </body>',
      '</html>',
      '',
    ];
    return { status, headers: { 'content-type': 'text/html; charset=utf-8' }, body: lines.join('\n') };
  }
  const body = `{\n  "message":${JSON.stringify(message)},\n  "request_id":"${requestId}"\n}`;
  return { status, headers: { 'content-type': 'application/json; charset=utf-8' }, body };
}
