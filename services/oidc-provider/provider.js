// An identity provider for tests: node provider.js PORT JWKS_FILE ALGORITHM
//
// One client, `shop`, gets access tokens (JWT) for the audience `kaname` by client credentials. The first key of the file
// that fits the algorithm signs.
import { readFileSync } from 'node:fs';
import Provider from 'oidc-provider';

const [port, file, algorithm] = process.argv.slice(2);
const resource = {
  scope: 'predict:iris read',
  audience: 'kaname',
  accessTokenFormat: 'jwt',
  accessTokenTTL: 600,
  jwt: { sign: { alg: algorithm } },
};
const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: JSON.parse(readFileSync(file)),
  clients: [{
    client_id: 'shop',
    client_secret: 'a-secret-of-the-shop',
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    id_token_signed_response_alg: algorithm,
  }],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:kaname',
      getResourceServerInfo: () => resource,
    },
  },
});
provider.on('server_error', (_, error) => console.error(error));
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
