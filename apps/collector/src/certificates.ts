import { X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContext, type TlsOptions } from 'node:tls';
import { UserError } from '@tripline/runtime';

/** PEM certificate chain and its PEM private key. */
export interface Certificate {
  cert: Buffer;
  key: Buffer;
}

/**
 * What a TLS server needs to serve the certificate that is for the name which the client asks for (SNI); the first one to
 * those that ask for none, or for a name of none of them. Throws a `UserError` if one of them cannot be used.
 */
export function serverCertificates(certificates: readonly Certificate[]): TlsOptions {
  const all = certificates.map(usable);
  const choose = (name: string): SecureContext | undefined =>
    all.find(({ x509 }) => x509.checkHost(name) !== undefined)?.context;
  return {
    ...certificates[0],
    SNICallback: (name, callback) => callback(null, choose(name) ?? all[0]?.context),
  };
}

function usable({ cert, key }: Certificate): { x509: X509Certificate; context: SecureContext } {
  try {
    return { x509: new X509Certificate(cert), context: createSecureContext({ cert, key }) };
  } catch (error) {
    throw new UserError(
      `collector.tls: certFile and keyFile cannot be used: ${(error as Error).message}; ` +
        'allowed are a PEM certificate chain and its PEM private key, without a passphrase.',
    );
  }
}
