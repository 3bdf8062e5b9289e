// 500 logins that arrive within 10 s beside the stress profile, for k6:
//   k6 run -e URL=http://127.0.0.1:8080 test/load/logins.js
// 50 users work for 80 s; from second 40 on LOGINS others log in. Every login must succeed, and the 99th percentile of
// the users' own requests meanwhile must stay within twice what it was before.
import { sleep } from 'k6';
import exec from 'k6/execution';
import { Trend } from 'k6/metrics';
import { choose, login, request } from './profile.js';

const LOGINS = Number(__ENV.LOGINS || 500);
const [BEFORE, STORM, UNTIL] = [40e3, 55e3, 80e3]; // ms from the start
const storm = new Trend('storm_login', true);
const calm = new Trend('work_before', true);
const busy = new Trend('work_during', true);

export const options = {
  scenarios: {
    users: { executor: 'per-vu-iterations', vus: Number(__ENV.USERS || 50), iterations: 1, maxDuration: '5m', exec: 'work' },
    logins: { executor: 'per-vu-iterations', vus: LOGINS, iterations: 1, startTime: `${BEFORE / 1000}s`, maxDuration: '2m', exec: 'arrive' },
  },
  thresholds: { checks: ['rate==1'] },
  summaryTrendStats: ['count', 'avg', 'med', 'p(95)', 'p(99)', 'max'],
};

export function work() {
  sleep(Math.random() * 10);
  const headers = login();
  if (!headers) return;
  for (;;) {
    sleep(1 + Math.random() * 2);
    const at = exec.instance.currentTestRunDuration;
    if (at > UNTIL) return;
    const took = request(choose(), headers).timings.duration;
    if (at > 15e3 && at < BEFORE) calm.add(took);
    if (at >= BEFORE && at < STORM) busy.add(took);
  }
}

export function arrive() {
  sleep(Math.random() * 10);
  const began = Date.now();
  if (login()) storm.add(Date.now() - began);
}

export function handleSummary(data) {
  const of = (name) => data.metrics[name].values;
  const line = (name) => `${name}: ${of(name).count} · median ${of(name).med.toFixed(1)} · p95 ${of(name)['p(95)'].toFixed(1)} · p99 ${of(name)['p(99)'].toFixed(1)} · max ${of(name).max.toFixed(1)} ms`;
  const ratio = of('work_during')['p(99)'] / of('work_before')['p(99)'];
  return { stdout: ['storm_login', 'work_before', 'work_during'].map(line).join('\n') +
    `\np99 during the logins is ${ratio.toFixed(2)} times that before; checks passed: ${data.metrics.checks.values.passes}, failed: ${data.metrics.checks.values.fails}\n` };
}
