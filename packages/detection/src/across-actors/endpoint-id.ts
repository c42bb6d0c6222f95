/** Names of an endpoint and its service; a call without a service has the empty text. */
export interface EndpointName {
  readonly service: string;
  /** Method and path template, `GET /orders/{id}`. */
  readonly endpoint: string;
}

/** The name of an endpoint in keys, in ids of alerts and as the actor of alerts: service, method and path template. */
export function endpointId({ service, endpoint }: EndpointName): string {
  return `${service} ${endpoint}`;
}
