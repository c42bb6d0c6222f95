import type { ApiCall } from '@tripline/model';
import { pathTemplate, placeholderBy } from './endpoint.ts';
import { expectedSegments, routeShapes, type RouteShapes } from './route-paths.ts';
import type { TemplateLearner } from './template-learner.ts';

/**
 * Makes the function that tells a call's endpoint, method and path template, from all its other fields and `route.paths` of
 * its log line. `templates` learns from the calls; left out: the segments' looks and Kong's route paths alone tell.
 */
export function createEndpointOf(
  templates?: TemplateLearner,
): (call: ApiCall, routePaths: unknown) => string {
  // A route that was read before comes with the same list.
  const knownShapes = new WeakMap<object, RouteShapes>();
  const shapesOf = (routePaths: unknown): RouteShapes => {
    if (typeof routePaths !== 'object' || routePaths === null) return [];
    let shapes = knownShapes.get(routePaths);
    if (!shapes) knownShapes.set(routePaths, (shapes = routeShapes(routePaths)));
    return shapes;
  };

  return (call, routePaths) => {
    // Operators can have the service left out of the lines: what is learnt then is of all such calls together.
    const { method, path, service = '' } = call;
    if (path === '') return method;
    const expected = expectedSegments(shapesOf(routePaths), path);
    if (templates)
      return `${method} ${templates.template(service, path, expected, teaches(call) ? call : undefined)}`;
    return `${method} ${pathTemplate(path, (_path, from, to, index) => placeholderBy(expected[index], path, from, to))}`;
  };
}

/** Did the upstream have something there? Preflights are answered for any path. */
function teaches({ status, source, method }: ApiCall): boolean {
  return status >= 200 && status < 300 && source === 'upstream' && method !== 'OPTIONS';
}
