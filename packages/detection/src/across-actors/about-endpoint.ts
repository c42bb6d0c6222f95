import type { Alert } from '@tripline/model';
import { endpointId, type EndpointName } from './endpoint-id.ts';

/** What an alert about an endpoint names. `campaign`: it is about the actors that use the endpoint together. */
export function aboutEndpoint(
  of: EndpointName,
  kind: 'endpoint' | 'campaign' = 'endpoint',
): Pick<Alert, 'actor' | 'service' | 'route' | 'endpoint'> {
  const id = endpointId(of);
  return {
    actor: { kind, id, name: id },
    service: of.service === '' ? null : of.service,
    route: null,
    endpoint: of.endpoint,
  };
}
