// The service behind Kong: answers every request with what it was.
import { createServer } from 'node:http';

createServer((request, response) => {
  const { method, url } = request;
  request.resume().on('end', () => {
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ method, url }));
  });
}).listen(8080);
