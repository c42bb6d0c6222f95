import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';
import { isRecent, isWatched, newPlaces, type Family, type Network, type Places } from './places.ts';

export function encodePlaces(places: Places, writer: ByteWriter): void {
  const { newestMs, networks, families, last, refused } = places;
  writer.uint(places.firstMs);
  writer.uint(newestMs - places.firstMs);
  writer.uint(places.calls);
  writer.uint(places.activeDays);
  writer.int(places.day);
  writer.uint(places.newsToday);
  // The usual number has two decimals.
  writer.uint(Math.round(100 * places.newsUsual));
  writer.uint(last ? networks.indexOf(last) + 1 : 0);
  writer.uint(networks.length);
  for (const network of networks) encodeNetwork(network, places, writer);
  writer.uint(families.length);
  for (const { hash, own, browser, lastDay, days } of families) {
    writer.hash24(hash);
    writer.flags(own, browser);
    writer.int(lastDay);
    writer.uint(days);
  }
  writer.boolean(refused !== null);
  if (!refused) return;
  writer.number(refused.asn);
  writer.text(refused.country);
  writer.uint(refused.count);
  writer.int(newestMs - refused.lastMs);
}

function encodeNetwork(network: Network, places: Places, writer: ByteWriter): void {
  const { own, bornOwn, roams, strangeClient, hours } = network;
  const isOfLate = isRecent(places, network);
  writer.number(network.asn);
  writer.text(network.country);
  writer.number(network.latitude);
  writer.number(network.longitude);
  writer.flags(own, bornOwn, roams, strangeClient, isOfLate, hours > 0);
  writer.uint(network.firstHour);
  writer.int(network.lastDay);
  writer.uint(network.days);
  if (isOfLate) writer.int(places.newestMs - network.lastMs);
  writer.hash24(network.prefix);
  if (hours === 0) return;
  writer.uint(hours);
  writer.uint(network.returns);
}

export function decodePlaces(reader: ByteReader): Places {
  const firstMs = reader.uint();
  const places = newPlaces(firstMs);
  places.newestMs = firstMs + reader.uint();
  places.calls = reader.uint();
  places.activeDays = reader.uint();
  places.day = reader.int();
  places.newsToday = reader.uint();
  places.newsUsual = reader.uint() / 100;
  const last = reader.uint();
  for (let left = reader.count(9); left > 0; left--)
    places.networks.push(decodeNetwork(reader, places.newestMs));
  for (let left = reader.count(6); left > 0; left--) places.families.push(decodeFamily(reader));
  places.last = places.networks[last - 1] ?? null;
  if (reader.boolean())
    places.refused = {
      asn: reader.number(),
      country: reader.text(),
      count: reader.uint(),
      lastMs: places.newestMs - reader.int(),
    };
  places.watched = isWatched(places);
  return places;
}

function decodeNetwork(reader: ByteReader, newestMs: number): Network {
  const asn = reader.number();
  const country = reader.text();
  const latitude = reader.number();
  const longitude = reader.number();
  const [own = false, bornOwn = false, roams = false, strangeClient = false, isOfLate, isYoung] =
    reader.flags(6);
  return {
    asn,
    country,
    latitude,
    longitude,
    own,
    bornOwn,
    roams,
    strangeClient,
    firstHour: reader.uint(),
    lastDay: reader.int(),
    days: reader.uint(),
    // Of no meaning once it is older than RECENT_MS.
    lastMs: isOfLate ? newestMs - reader.int() : 0,
    prefix: reader.hash24(),
    hours: isYoung ? reader.uint() : 0,
    returns: isYoung ? reader.uint() : 0,
  };
}

function decodeFamily(reader: ByteReader): Family {
  const hash = reader.hash24();
  const [own = false, browser = false] = reader.flags(2);
  return { hash, own, browser, lastDay: reader.int(), days: reader.uint() };
}
