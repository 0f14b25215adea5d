// A real OpenID Connect provider (oidc-provider) for the acceptance tests: any number of realms, each an issuer with keys
// and people of its own. It tells its address on standard output and ends when its standard input does.
//
//   POST /control/realm   {name, algs?, ttl?}                        makes one, or gives it other keys
//   POST /control/login   {realm, sub, claims?, amr?, acr?, at?, scope?}   logs somebody in; -> access_token, id_token
//   POST /control/sign    {realm, alg, header, claims}               signs two texts with the realm's key, whatever they say
//   POST /control/tls     {realm, cert, key}                        an issuer over TLS with the realm's keys -> issuer
//   POST /control/state   {realm, down?}                             -> kids, jwks, asked; down: answers 503 from now on
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { readFileSync } from 'node:fs';
import * as crypto from 'node:crypto';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// Standard output is for the address alone.
console.info = () => {};

const require = createRequire(`${process.cwd()}/`);
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

const RESOURCE = 'https://models.example.com';
const SCOPES = 'gate models:read models:infer files:write';
const CLIENT = { client_id: 'app', client_secret: 'the-secret-of-the-app', redirect_uris: ['http://127.0.0.1/callback'] };
const PAIRS = {
  EdDSA: () => crypto.generateKeyPairSync('ed25519'),
  ES256: () => crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  RS256: () => crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
  PS256: () => crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
};
const realms = new Map();
let origin;

function newKey(alg) {
  const jwk = PAIRS[alg]().privateKey.export({ format: 'jwk' });
  return { ...jwk, alg, use: 'sig', kid: crypto.randomBytes(12).toString('hex') };
}

// Algorithms that the realm had keep their key unless `algs` names them.
function makeRealm({ name, algs = ['ES256'], ttl = 3600 }) {
  const realm = realms.get(name) ?? { name, people: new Map(), asked: 0, down: false };
  Object.assign(realm, { alg: algs[0], ttl, keys: algs.map(newKey) });
  realm.issuer = `${origin}/realm/${name}`;
  realm.provider = new Provider(realm.issuer, configuration(realm));
  realm.answer = realm.provider.callback();
  realms.set(name, realm);
  return state(realm);
}

function configuration(realm) {
  return {
    clients: [CLIENT],
    jwks: { keys: realm.keys },
    clientDefaults: { id_token_signed_response_alg: realm.alg },
    cookies: { keys: ['only-for-tests'] },
    pkce: { required: () => false },
    scopes: ['openid', ...SCOPES.split(' ')],
    features: {
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => RESOURCE,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource) => ({
          scope: SCOPES,
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: realm.ttl,
          jwt: { sign: { alg: realm.alg } },
        }),
      },
    },
    enabledJWA: { idTokenSigningAlgValues: ['EdDSA', 'ES256', 'RS256', 'PS256'] },
    interactions: { url: (_ctx, interaction) => `${realm.issuer}/interaction/${interaction.uid}` },
    findAccount: (_ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
    // Whoever logs in agrees.
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({ clientId: CLIENT.client_id, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope(`openid ${SCOPES}`);
      grant.addResourceScope(RESOURCE, SCOPES);
      await grant.save();
      return grant;
    },
    extraTokenClaims: (ctx, token) => {
      const { authTime, acr, amr } = ctx.oidc.entities.AuthorizationCode ?? {};
      const said = { ...(authTime && { auth_time: authTime }), ...(acr && { acr }), ...(amr && { amr }) };
      return { ...said, ...realm.people.get(token.accountId)?.claims };
    },
  };
}

// What a form would ask: who it is, and how they proved it.
async function interact(realm, req, res) {
  const { params } = await realm.provider.interactionDetails(req, res);
  const { amr, acr, at } = realm.people.get(params.login_hint);
  const login = { accountId: params.login_hint, amr, acr, ...(at && { ts: at }) };
  await realm.provider.interactionFinished(req, res, { login }, { mergeWithLastSubmission: false });
}

// A browser and the application behind it: the authorization code flow, over HTTP.
async function login({ realm: name, sub, claims = {}, amr, acr, at, scope = 'openid gate' }) {
  const realm = realms.get(name);
  realm.people.set(sub, { claims, amr, acr, at });
  const cookies = new Map();
  const asked = { client_id: CLIENT.client_id, response_type: 'code', redirect_uri: CLIENT.redirect_uris[0] };
  const query = new URLSearchParams({ ...asked, scope, login_hint: sub, nonce: 'n-1' });
  let location = `${realm.issuer}/auth?${query}`;
  for (let steps = 0; !location.startsWith(CLIENT.redirect_uris[0]); steps += 1) {
    if (steps > 10) throw new Error(`the login leads nowhere: ${location}`);
    const cookie = [...cookies].map(([key, value]) => `${key}=${value}`).join('; ');
    const answer = await fetch(location, { redirect: 'manual', headers: { cookie } });
    for (const line of answer.headers.getSetCookie()) {
      const [, key, value] = /^([^=]+)=([^;]*)/.exec(line);
      cookies.set(key, value);
    }
    if (!answer.headers.has('location')) throw new Error(`${location}: ${answer.status}`);
    location = new URL(answer.headers.get('location'), location).href;
  }
  const answered = new URL(location).searchParams;
  if (!answered.has('code')) throw new Error(location);
  const secret = Buffer.from(`${CLIENT.client_id}:${CLIENT.client_secret}`).toString('base64');
  const body = new URLSearchParams({
    grant_type: 'authorization_code', code: answered.get('code'), redirect_uri: CLIENT.redirect_uris[0],
  });
  const tokens = await fetch(`${realm.issuer}/token`, { method: 'POST', body, headers: { authorization: `Basic ${secret}` } });
  return tokens.json();
}

function sign({ realm: name, alg, header, claims }) {
  const { keys } = realms.get(name);
  const jwk = keys.find((key) => key.alg === alg) ?? keys.find((key) => key.kty === 'RSA');
  const key = crypto.createPrivateKey({ key: jwk, format: 'jwk' });
  const text = [header, claims].map((part) => Buffer.from(part).toString('base64url')).join('.');
  const padding = alg === 'PS256' ? { padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : {};
  const how = { key, dsaEncoding: 'ieee-p1363', ...padding };
  const signature = crypto.sign(alg === 'EdDSA' ? null : 'sha256', Buffer.from(text), how);
  return { token: `${text}.${signature.toString('base64url')}` };
}

// What an issuer publishes, at an address that begins with https.
function overTls({ realm, cert, key }) {
  return new Promise((resolve) => {
    const server = createTlsServer({ cert: readFileSync(cert), key: readFileSync(key) }, (req, res) => {
      const issuer = `https://localhost:${server.address().port}`;
      const document = req.url === '/keys' ? { keys: state({ name: realm }).keys } : { issuer, jwks_uri: `${issuer}/keys` };
      res.end(JSON.stringify(document));
    });
    server.listen(0, '127.0.0.1', () => resolve({ issuer: `https://localhost:${server.address().port}` }));
  });
}

function state({ name, down }) {
  const realm = realms.get(name);
  realm.down = down ?? realm.down;
  const shown = ({ d, p, q, dp, dq, qi, ...key }) => key;
  return { issuer: realm.issuer, kids: realm.keys.map((key) => key.kid), keys: realm.keys.map(shown), asked: realm.asked };
}

const controls = {
  '/control/realm': makeRealm,
  '/control/login': login,
  '/control/sign': sign,
  '/control/tls': overTls,
  '/control/state': ({ realm, ...rest }) => state({ name: realm, ...rest }),
};

async function control(req, res) {
  const parts = [];
  for await (const part of req) parts.push(part);
  const answer = await controls[req.url](JSON.parse(Buffer.concat(parts).toString()));
  res.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
}

function serve(req, res) {
  const [, name, path] = /^\/realm\/([^/]+)(\/.*)$/.exec(req.url) ?? [];
  const realm = realms.get(name);
  if (!realm) return res.writeHead(404).end();
  if (/^\/(jwks|\.well-known)/.test(path)) {
    realm.asked += 1;
    if (realm.down) return res.writeHead(503).end();
  }
  req.originalUrl = req.url;
  req.url = path;
  return path.startsWith('/interaction/') ? interact(realm, req, res) : realm.answer(req, res);
}

const server = createServer((req, res) => {
  const answered = req.url.startsWith('/control/') ? control(req, res) : serve(req, res);
  Promise.resolve(answered).catch((error) => res.writeHead(500).end(String(error.stack)));
});
server.listen(0, '127.0.0.1', () => {
  origin = `http://127.0.0.1:${server.address().port}`;
  console.log(origin);
});
process.stdin.resume().on('end', () => process.exit(0));
