import { X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContext, type TlsOptions } from 'node:tls';
import { UserError } from '@tripline/runtime';

/** PEM certificate chain and its PEM private key. */
export interface Certificate {
  cert: Buffer;
  key: Buffer;
}

/**
 * TLS options by which a server chooses the certificate for the name that the client asks for (SNI). Clients that ask for
 * no name or an unknown one get the first certificate. Throws a `UserError` if a certificate cannot be used.
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
