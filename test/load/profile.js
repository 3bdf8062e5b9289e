// The stress profile of the existing clients for k6, the same as `leadloom bench`:
//   k6 run -e URL=http://127.0.0.1:8080 -e USERS=50 -e FOR=5m test/load/profile.js
// Each user logs in once, then pauses 1 to 3 s between requests. The 404 of /api/nonexistent is expected.
import http from 'k6/http';
import { check, sleep } from 'k6';
import { Trend } from 'k6/metrics';

const URL = __ENV.URL || 'http://127.0.0.1:8080';
const CRM = __ENV.CRM_URL || URL;
const USERS = Number(__ENV.USERS || 50);
const RAMP = Number(__ENV.RAMP_SECONDS || 10);
const logins = new Trend('login_duration', true);

export const options = {
  scenarios: { users: { executor: 'per-vu-iterations', vus: USERS, iterations: 1, maxDuration: '24h' } },
  thresholds: {
    'checks': ['rate==1'],
    'http_req_duration{kind:work}': [`p(99)<${__ENV.MAX_P99_MS || 15}`],
  },
  summaryTrendStats: ['count', 'avg', 'med', 'p(95)', 'p(99)', 'max'],
};

function seconds(text) {
  const m = /^(\d+)(s|m|h)$/.exec(text);
  return Number(m[1]) * { s: 1, m: 60, h: 3600 }[m[2]];
}
const UNTIL = seconds(__ENV.FOR || '60s') * 1000;

let sent = 0;
function person() {
  sent++;
  return {
    first_name: 'K6', last_name: `Stress${sent}`, email: `k6.${__VU}.${sent}.${Date.now() % 1e7}@example.com`,
    company: `Stress ${__VU} Ltd`, source: 'stress', custom_fields: { budget: 1000 * (1 + Math.floor(Math.random() * 50)) },
  };
}
const lead = () => `/api/leads/lead-${1 + Math.floor(Math.random() * 3)}`;

// [name, weight, method, status, path, body]
const profile = [
  ['POST /api/workflows/trigger', 10, 'POST', 200, () => '/api/workflows/trigger', () => ({ workflow_id: 'workflow-1', lead_data: person(), custom_context: { source: 'stress' } })],
  ['GET /api/leads', 8, 'GET', 200, () => '/api/leads?skip=0&limit=20'],
  ['GET /health', 5, 'GET', 200, () => '/health'],
  ['GET /api/workflows/{id}/status', 5, 'GET', 200, () => '/api/workflows/workflow-1/status'],
  ['POST /api/leads', 3, 'POST', 200, () => '/api/leads', person],
  ['GET /api/auth/me', 3, 'GET', 200, () => '/api/auth/me'],
  ['GET /api/campaigns', 3, 'GET', 200, () => '/api/campaigns'],
  ['GET /api/crm/status', 3, 'GET', 200, () => '/api/crm/status'],
  ['GET /health/detailed', 2, 'GET', 200, () => '/health/detailed'],
  ['GET /api/leads/{id}', 2, 'GET', 200, lead],
  ['GET /docs', 2, 'GET', 200, () => '/docs'],
  ['PUT /api/leads/{id}', 1, 'PUT', 200, lead, () => ({ first_name: 'Updated', last_name: 'K6', company: 'Updated Corp', phone: null, source: null, status: null })],
  ['GET /metrics', 1, 'GET', 200, () => '/metrics'],
  ['GET /api/auth/keys', 1, 'GET', 200, () => '/api/auth/keys'],
  ['GET /api/campaigns/{id}/metrics', 1, 'GET', 200, () => '/api/campaigns/campaign-1/metrics'],
  ['POST /api/campaigns/{id}/metrics', 1, 'POST', 200, () => '/api/campaigns/campaign-1/metrics', () => ({ metrics: { sent: 10, opened: 5, clicked: 2 } })],
  ['POST /api/crm/config', 1, 'POST', 200, () => '/api/crm/config', () => ({ crm_type: 'generic', api_url: CRM, api_key: 'stress-key' })],
  ['GET /api/openapi.json', 1, 'GET', 200, () => '/api/openapi.json'],
  ['GET /api/nonexistent', 1, 'GET', 404, () => '/api/nonexistent'],
];
const total = profile.reduce((sum, e) => sum + e[1], 0);

export function choose() {
  let n = Math.random() * total;
  for (const e of profile) {
    n -= e[1];
    if (n < 0) return e;
  }
  return profile[0];
}

const json = { 'Content-Type': 'application/json' };

// login gives the headers of a logged-in user, or null.
export function login() {
  const reply = http.post(`${URL}/api/auth/login`, JSON.stringify({ username: __ENV.USERNAME || 'admin', password: __ENV.PASSWORD || 'admin123' }),
    { headers: json, tags: { kind: 'login', name: 'POST /api/auth/login' }, timeout: '90s' });
  logins.add(reply.timings.duration);
  if (!check(reply, { 'login is 200': (r) => r.status === 200 })) return null;
  return Object.assign({ Authorization: `Bearer ${reply.json('access_token')}` }, json);
}

// request sends an entry of the profile and checks its status.
export function request([name, , method, status, path, body], headers) {
  const r = http.request(method, URL + path(), body ? JSON.stringify(body()) : null, {
    headers, tags: { kind: 'work', name }, responseCallback: http.expectedStatuses(status), timeout: '30s',
  });
  check(r, { [`${name} is ${status}`]: (x) => x.status === status });
  return r;
}

export default function () {
  const started = Date.now();
  sleep(Math.random() * RAMP);
  const headers = login();
  if (!headers) return;
  while (Date.now() - started < UNTIL) {
    sleep(1 + Math.random() * 2);
    request(choose(), headers);
  }
}
