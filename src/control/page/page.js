'use strict';
// Shows what /status says, once a second. Words from providers go into text nodes alone.
(() => {
  const KEEP = 300, EVERY_MS = 1000, AWAY_AFTER = 3;
  const id = name => document.getElementById(name);
  const state = { sort: 'name', up: true, rows: new Map(), history: [], last: null, failures: 0, timer: 0, open: null, paused: false };
  let token = sessionStorage.getItem('tidegate-token') || '';

  // Form.
  const count = n => Math.round(n).toLocaleString('en-US');
  const rate = n => n >= 100 ? count(n) : n >= 10 ? n.toFixed(1) : n.toFixed(2);
  const ms = n => n >= 1000 ? (n / 1000).toFixed(2) + ' s' : (n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2)) + ' ms';
  const percent = n => (n >= 1 ? '100' : (Math.floor(n * 10000) / 100).toFixed(2)) + ' %';
  const bytes = n => { let unit = 0; while (n >= 1024 && unit < 4) { n /= 1024; unit += 1; } return (unit && n < 100 ? n.toFixed(1) : Math.round(n)) + ' ' + ['B', 'KiB', 'MiB', 'GiB', 'TiB'][unit]; };
  const span = n => { const s = Math.floor(n / 1000); return s < 60 ? s + ' s' : s < 3600 ? Math.floor(s / 60) + ' min ' + s % 60 + ' s' : s < 86400 ? Math.floor(s / 3600) + ' h ' + Math.floor(s % 3600 / 60) + ' min' : Math.floor(s / 86400) + ' d ' + Math.floor(s % 86400 / 3600) + ' h'; };
  const share = (part, whole) => whole > 0 ? part / whole : null;

  function put(node, text) { if (node.textContent !== text) node.textContent = text; }
  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }
  function tone(node, value) { if (node.dataset.tone !== value) node.dataset.tone = value; }

  // What a source does, in a word.
  function stateOf(source, now) {
    if (source.banned_until && source.banned_until > now) return ['banned', 'bad'];
    if (source.breaker === 'forced_open') return ['forced open', 'bad'];
    if (source.breaker === 'open') return ['open', 'bad'];
    if (source.breaker === 'half_open') return ['probing', 'warn'];
    const recent = source.last_60s;
    if (recent.requests > 0 && recent.success === 0) return ['failing', 'bad'];
    if (recent.requests > 0 && recent.success < recent.requests * 0.99) return ['unsteady', 'warn'];
    if (source.requests === 0) return [source.waiting > 0 ? 'waiting' : 'starting', 'idle'];
    return source.breaker === 'disabled' ? ['unguarded', 'warn'] : ['delivering', 'good'];
  }
  function fullest(source) {
    // A window of seconds is full by design whenever a request has just gone out: the long ones tell how much is left.
    const windows = source.quota || [], long = windows.filter(window => window.per_ms >= 60000);
    let most = null;
    for (const window of long.length ? long : windows) {
      const part = share(window.used, window.limit);
      if (part !== null && (!most || part > most.part)) most = { part, window, long: long.length > 0 };
    }
    return most;
  }

  const COLUMNS = [
    { key: 'name', title: 'Source', sort: row => row.name },
    { key: 'state', title: 'State', sort: row => row.state[0] },
    { key: 'rate', title: 'Requests/s', number: true, sort: row => row.source.last_10s.requests_per_second, text: row => rate(row.source.last_10s.requests_per_second) },
    { key: 'p95', title: 'p95', number: true, sort: row => row.source.last_60s.latency.count ? row.source.last_60s.latency.p95_ms : -1, text: row => row.source.last_60s.latency.count ? ms(row.source.last_60s.latency.p95_ms) : '–' },
    { key: 'success', title: 'Success', number: true, sort: row => row.success === null ? 2 : row.success, text: row => row.success === null ? '–' : percent(row.success) },
    { key: 'breaker', title: 'Breaker', sort: row => row.source.breaker, text: row => row.source.breaker.replace('_', ' ') },
    { key: 'quota', title: 'Quota', sort: row => row.quota ? row.quota.part : -1 },
    { key: 'age', title: 'Data age', number: true, sort: row => row.source.record_age_ms == null ? Infinity : row.source.record_age_ms, text: row => row.source.record_age_ms == null ? '–' : span(row.source.record_age_ms) },
    { key: 'error', title: 'Last error', sort: row => row.source.last_error || '', text: row => row.source.last_error || '' },
  ];

  function head() {
    for (const column of COLUMNS) {
      const cell = make('th', column.number ? 'number' : '');
      cell.scope = 'col';
      const button = make('button', '', column.title);
      button.type = 'button';
      button.addEventListener('click', () => {
        state.up = state.sort === column.key ? !state.up : true;
        state.sort = column.key;
        if (state.last) sources(state.last);
      });
      cell.append(button);
      cell.dataset.key = column.key;
      id('columns').append(cell);
    }
  }

  function newRow(name) {
    const line = make('tr');
    line.dataset.source = name;
    const cells = {};
    for (const column of COLUMNS) {
      const cell = make('td', (column.number ? 'number ' : '') + column.key);
      cell.dataset.label = column.title;
      cells[column.key] = cell;
      line.append(cell);
    }
    const button = make('button', '', name);
    button.type = 'button';
    button.addEventListener('click', () => details(name));
    cells.name.append(button);
    cells.pill = make('span', 'pill');
    cells.state.append(cells.pill);
    cells.bar = make('span', 'bar');
    cells.used = make('span');
    const used = make('span');
    used.append(cells.bar, cells.used);
    cells.quota.append(used);
    return { line, cells };
  }

  function sources(status) {
    const now = status.at;
    const wanted = id('filter').value.trim().toLowerCase();
    const list = Object.entries(status.sources).map(([name, source]) => ({
      name, source, state: stateOf(source, now), quota: fullest(source),
      success: share(source.last_60s.success, source.last_60s.requests),
    }));
    const column = COLUMNS.find(column => column.key === state.sort);
    list.sort((a, b) => {
      const [x, y] = [column.sort(a), column.sort(b)];
      const order = x < y ? -1 : x > y ? 1 : a.name < b.name ? -1 : 1;
      return state.up ? order : -order;
    });
    let shown = 0;
    const body = id('rows');
    for (const [index, row] of list.entries()) {
      if (!state.rows.has(row.name)) state.rows.set(row.name, newRow(row.name));
      const { line, cells } = state.rows.get(row.name);
      line.hidden = wanted !== '' && !(row.name + ' ' + row.state[0] + ' ' + row.source.breaker).includes(wanted);
      shown += line.hidden ? 0 : 1;
      put(cells.pill, row.state[0]);
      tone(cells.pill, row.state[1]);
      for (const { key, text } of COLUMNS) if (text) put(cells[key], text(row));
      cells.error.title = row.source.last_error || '';
      cells.age.title = row.source.event_age_ms == null ? '' : 'the provider’s own time is ' + span(row.source.event_age_ms) + ' old';
      const part = row.quota ? row.quota.part : 0;
      cells.bar.hidden = !row.quota;
      cells.bar.style.setProperty('--part', Math.min(1, part).toFixed(3));
      tone(cells.bar, !row.quota || !row.quota.long ? 'good' : part >= 1 ? 'bad' : part >= 0.8 ? 'warn' : 'good');
      put(cells.used, row.quota ? Math.round(part * 100) + ' %' : '–');
      cells.quota.title = row.quota ? count(row.quota.window.used) + ' of ' + count(row.quota.window.limit) + ' per ' + span(row.quota.window.per_ms) : '';
      if (body.children[index] !== line) body.insertBefore(line, body.children[index] || null);
    }
    for (const [name, { line }] of state.rows) if (!(name in status.sources)) { line.remove(); state.rows.delete(name); }
    for (const cell of id('columns').children) {
      if (cell.dataset.key === state.sort) cell.setAttribute('aria-sort', state.up ? 'ascending' : 'descending');
      else cell.removeAttribute('aria-sort');
    }
    id('nothing').hidden = shown > 0;
    put(id('sources-count'), shown === list.length ? String(list.length) : shown + ' of ' + list.length);
  }

  function tiles(status) {
    const { total, targets, records, buffer } = status;
    const success = share(total.last_60s.success, total.last_60s.requests);
    const filled = share(buffer.len, buffer.capacity) || 0;
    const late = total.last_10s.latency;
    const open = Object.values(status.sources).filter(source => ['open', 'forced_open', 'half_open'].includes(source.breaker)).length;
    const list = [
      ['rate', 'Throughput', rate(total.last_10s.requests_per_second), '/s', 'peak ' + rate(total.requests_per_second_peak) + ' · asked for ' + rate(status.demand_per_second), ''],
      ['p95', 'p95', late.count ? ms(late.p95_ms) : '–', '', 'p99 ' + (late.count ? ms(late.p99_ms) : '–') + ' · limit ' + ms(targets.p95_ms), late.count && late.p95_ms > targets.p95_ms ? 'bad' : ''],
      ['success', 'Success', success === null ? '–' : percent(success), '', 'of ' + count(total.last_60s.requests) + ' in the last minute', success !== null && success < targets.success_rate ? 'bad' : ''],
      ['records', 'Records', rate(total.last_10s.records_per_second), '/s', count(records.delivered) + ' delivered', ''],
      ['buffer', 'Buffer', count(buffer.len), '', 'of ' + count(buffer.capacity), filled >= 0.8 ? 'bad' : filled >= 0.5 ? 'warn' : ''],
      ['breakers', 'Breakers open', String(open), '', 'of ' + Object.keys(status.sources).length + ' sources', open ? 'bad' : ''],
    ];
    const box = id('tiles');
    for (const [key, title, value, unit, note, mood] of list) {
      let tile = box.querySelector('[data-tile="' + key + '"]');
      if (!tile) {
        tile = make('div', 'tile');
        tile.dataset.tile = key;
        tile.append(make('span', 'muted', title), make('b'), make('span', 'muted note'));
        tile.children[1].append(make('span', 'value'), make('small', '', unit));
        box.append(tile);
      }
      put(tile.querySelector('.value'), value);
      put(tile.querySelector('.note'), note);
      tone(tile, mood);
    }
  }

  function alerts(status) {
    const list = status.alerts.filter(alert => alert.state !== 'resolved');
    const box = id('alerts');
    box.replaceChildren();
    if (!list.length) {
      const line = make('li', 'muted', 'None.');
      box.append(line);
    }
    for (const alert of list) {
      const line = make('li');
      const pill = make('span', 'pill', alert.state === 'firing' ? alert.severity : alert.state);
      tone(pill, alert.state !== 'firing' ? 'idle' : alert.severity === 'critical' ? 'bad' : 'warn');
      line.append(pill, make('b', '', alert.rule + (alert.subject ? ' · ' + alert.subject : '')), make('span', '', alert.message),
        make('span', 'muted', 'for ' + span(Math.max(0, (status.at - alert.since) / 1e6))));
      box.append(line);
    }
  }

  function pairs(box, list) {
    box.replaceChildren();
    for (const [title, value, part, words] of list) {
      if (title) box.append(make('dt', '', title));
      const cell = make('dd', words ? 'words' : '');
      if (part !== undefined && part !== null) {
        const bar = make('span', 'bar');
        bar.style.setProperty('--part', Math.min(1, part).toFixed(3));
        tone(bar, part >= 0.95 ? 'bad' : part >= 0.8 ? 'warn' : 'good');
        cell.append(bar);
      }
      cell.append(value);
      box.append(cell);
    }
  }

  function panels(status) {
    const { records, buffer, journal, audit, total } = status;
    pairs(id('buffer'), [
      ['In the buffer', count(buffer.len) + ' of ' + count(buffer.capacity), share(buffer.len, buffer.capacity)],
      ['Published', count(records.published)], ['Delivered', count(records.delivered)], ['Queued', count(records.queued)],
      ['Dropped as duplicates', count(records.dropped_duplicate)],
      ['Dropped, buffer full', count(records.dropped_full_newest + records.dropped_full_oldest)],
      ['Received', bytes(total.bytes_in)],
      ['Connections', count(status.shards.reduce((sum, shard) => sum + shard.connections_open, 0)) + ' open, ' + count(status.shards.reduce((sum, shard) => sum + shard.connections_idle, 0)) + ' idle'],
    ]);
    pairs(id('cores'), status.cores.flatMap(core => [
      [core.name + (core.cpu === null ? '' : ' · CPU ' + core.cpu), Math.round(core.busy_share * 100) + ' %', core.busy_share],
      ...(core.stalls ? [['stalled', count(core.stalls) + ' times, ' + ms(core.stall_max_ms) + ' at most']] : []),
    ]).concat([['io_uring flags', status.rings.flags_on ? 'in force' : 'not in force']]));
    const sinks = [];
    if (journal) {
      sinks.push(['Journal, written to', count(journal.written_seq)], ['Journal, durable to', count(journal.durable_seq)],
        ['Journal, this run', bytes(journal.bytes_written) + ' in ' + count(journal.segments) + (journal.segments === 1 ? ' segment' : ' segments')]);
      if (journal.failing) sinks.push(['', journal.failing, null, true]);
    } else sinks.push(['Journal', 'off']);
    if (audit) sinks.push(['Audit log', count(audit.written) + ' attempts']);
    for (const sink of status.sinks) {
      sinks.push(['Sink ' + sink.name, sink.lag_records ? count(sink.lag_records) + ' behind, ' + span(sink.lag_ms) : 'up to date']);
      if (sink.dead) sinks.push(['Sink ' + sink.name + ', refused for good', count(sink.dead)]);
      if (sink.failing) sinks.push(['', sink.failing, null, true]);
    }
    if (!status.sinks.length) sinks.push(['Sinks', 'none but the journal']);
    pairs(id('sinks'), sinks);
    const stages = Object.entries(total.last_60s.stages).filter(([, latency]) => latency.count > 0);
    pairs(id('stages'), [['Stage, last minute', 'p50 · p99']].concat(stages.map(([name, latency]) => [name.replace('_', ' '), ms(latency.p50_ms) + ' · ' + ms(latency.p99_ms)])));
  }

  // Charts: the last five minutes of what was seen while the page was open.
  function remember(status) {
    const at = status.at / 1e6, before = state.history[state.history.length - 1];
    if (before && (at <= before.at || before.run !== status.run)) { if (before.run !== status.run) state.history.length = 0; else return; }
    const seconds = before ? (at - before.at) / 1000 : 0;
    const { latency } = status.total.last_10s;
    state.history.push({
      at, run: status.run, requests: status.total.requests, records: status.records.delivered,
      rate: before && seconds > 0 ? Math.max(0, status.total.requests - before.requests) / seconds : null,
      records_rate: before && seconds > 0 ? Math.max(0, status.records.delivered - before.records) / seconds : null,
      p50: latency.count ? latency.p50_ms : null, p95: latency.count ? latency.p95_ms : null, p99: latency.count ? latency.p99_ms : null,
    });
    if (state.history.length > KEEP) state.history.shift();
  }

  const SVG = 'http://www.w3.org/2000/svg';
  function ceiling(value) {
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 2.5, 5, 10].map(step => step * power).find(step => step >= value) || value;
  }
  function chart(name, title, series, form) {
    const box = id(name + '-chart'), legend = id(name + '-legend'), points = state.history;
    if (points.length < 2) {
      if (!box.firstChild) box.append(make('div', 'empty', 'It begins to draw in a moment.'));
      return;
    }
    const last = points[points.length - 1], from = Math.min(points[0].at, last.at - 60000);
    const most = ceiling(Math.max(...points.flatMap(point => series.map(one => point[one.key] || 0)), 1e-3));
    const svg = document.createElementNS(SVG, 'svg');
    svg.setAttribute('viewBox', '0 0 1000 100');
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('role', 'img');
    svg.setAttribute('aria-label', title + ': ' + series.map(one => one.title + ' ' + (last[one.key] === null ? '–' : form(last[one.key]))).join(', '));
    const marks = [];
    for (const part of [0, 0.5, 1]) {
      const line = document.createElementNS(SVG, 'line');
      for (const [key, value] of Object.entries({ x1: 0, x2: 1000, y1: 96 - part * 92, y2: 96 - part * 92 })) line.setAttribute(key, value);
      svg.append(line);
      const mark = make('span', 'mark', part ? form(most * part) : '0');
      mark.style.top = 96 - part * 92 + '%';
      marks.push(mark);
    }
    for (const one of series) {
      let path = '', pen = false;
      for (const point of points) {
        const value = point[one.key];
        if (value === null) { pen = false; continue; }
        path += (pen ? 'L' : 'M') + ((point.at - from) / (last.at - from) * 1000).toFixed(1) + ' ' + (96 - value / most * 92).toFixed(2);
        pen = true;
      }
      const line = document.createElementNS(SVG, 'path');
      line.setAttribute('d', path);
      line.style.setProperty('--tint', one.tint);
      svg.append(line);
    }
    const minutes = Math.max(1, Math.round((last.at - from) / 60000));
    box.replaceChildren(svg, ...marks, make('span', 'when', minutes + ' min ago'), make('span', 'when end', 'now'));
    legend.replaceChildren(...series.map(one => {
      const label = make('span', '', one.title + ' ' + (last[one.key] === null ? '–' : form(last[one.key])));
      label.style.setProperty('--tint', one.tint);
      return label;
    }));
  }
  function charts() {
    chart('rate', 'Throughput', [{ key: 'rate', title: 'requests', tint: 'var(--accent)' }, { key: 'records_rate', title: 'records', tint: 'var(--second)' }], rate);
    chart('latency', 'Latency', [{ key: 'p50', title: 'p50', tint: 'var(--accent)' }, { key: 'p95', title: 'p95', tint: 'var(--second)' }, { key: 'p99', title: 'p99', tint: 'var(--third)' }], ms);
  }

  function health(status) {
    const pill = id('health');
    put(pill, status.health.ready ? 'ready' : status.health.live ? 'not ready' : 'not alive');
    tone(pill, status.health.ready ? 'good' : status.health.live ? 'warn' : 'bad');
    pill.title = status.health.reasons.map(reason => reason.what + ': ' + reason.why).join('\n');
    const cluster = status.cluster ? ' · instance ' + status.cluster.instance + ' of ' + status.cluster.of : '';
    put(id('facts'), 'version ' + status.version + ' · up ' + span(status.uptime_ms) + cluster + ' · run ' + status.run
      + (status.health.ready ? '' : ' · ' + status.health.reasons.map(reason => reason.what + ': ' + reason.why).join('; ')));
    document.title = (status.health.ready ? '' : '! ') + 'tidegate';
  }

  function details(name) {
    state.open = name;
    put(id('order-said'), '');
    describe();
    id('dialog').showModal();
  }
  function describe() {
    if (!state.open || !state.last) return;
    const source = state.last.sources[state.open];
    if (!source) return;
    const word = stateOf(source, state.last.at)[0];
    put(id('dialog-title'), state.open);
    put(id('dialog-facts'), word + ' · breaker ' + source.breaker.replace('_', ' ') + ', opened ' + count(source.breaker_opened) + ' times');
    const windows = (source.quota || []).map(window => ['Quota' + (window.bucket ? ' ' + window.bucket : '') + ' per ' + span(window.per_ms), count(window.used) + ' of ' + count(window.limit), share(window.used, window.limit)]);
    pairs(id('dialog-list'), [
      ['Requests', count(source.requests)], ...Object.entries(source.verdicts).map(([verdict, n]) => ['Verdict ' + verdict, count(n)]),
      ...Object.entries(source.refused).map(([why, n]) => ['Held back: ' + why, count(n)]), ['Retries', count(source.retries)],
      ['Waiting, in flight', count(source.waiting) + ', ' + count(source.in_flight)],
      ['p50 · p99 · max, whole run', source.latency.count ? [source.latency.p50_ms, source.latency.p99_ms, source.latency.max_ms].map(ms).join(' · ') : '–'],
      ['Records', count(source.records)], ['Duplicates', count(source.counts.dropped_duplicate)], ...windows,
    ]);
    const error = id('dialog-error');
    error.hidden = !source.last_error;
    put(error, [source.last_error, source.last_excerpt].filter(Boolean).join('\n\n'));
  }
  async function order(force) {
    const name = state.open, said = id('order-said');
    if (force === 'forced_open' && !confirm('Open the breaker of ' + name + '? Nothing is asked of it until the breaker is set to automatic again.')) return;
    try {
      const answer = await fetch('/breakers/' + encodeURIComponent(name), { method: 'POST', body: force, headers: bearer() });
      const body = await answer.json().catch(() => ({}));
      put(said, answer.ok ? 'The breaker is told: ' + force.replace('_', ' ') + '.' : body.error || 'refused: ' + answer.status);
    } catch { put(said, 'The engine does not answer.'); }
    ask();
  }

  function render(status) {
    state.last = status;
    health(status); tiles(status); alerts(status); remember(status); charts(); sources(status); panels(status);
    if (id('dialog').open) describe();
  }
  const bearer = () => token ? { authorization: 'Bearer ' + token } : {};
  function say(words) { id('notice').hidden = !words; put(id('notice'), words); }
  async function ask() {
    clearTimeout(state.timer);
    try {
      const answer = await fetch('/status', { headers: bearer(), cache: 'no-store' });
      if (answer.status === 401) {
        if (token) say('This is not the engine’s token.');
        id('login').hidden = false;
        tone(id('health'), 'idle');
        put(id('health'), 'locked');
        return;
      }
      if (!answer.ok) throw new Error('it answers ' + answer.status);
      const status = await answer.json();
      id('login').hidden = true;
      state.failures = 0;
      say('');
      if (!state.paused) render(status);
    } catch (error) {
      state.failures += 1;
      if (state.failures >= AWAY_AFTER || !state.last) {
        say('The engine does not answer; what stands here is old. It is asked again.');
        tone(id('health'), 'bad');
        put(id('health'), 'away');
      }
    }
    const pause = EVERY_MS * Math.min(10, 2 ** Math.max(0, state.failures - AWAY_AFTER));
    state.timer = setTimeout(ask, document.hidden ? pause * 5 : pause);
  }

  head();
  id('filter').addEventListener('input', () => state.last && sources(state.last));
  id('login').addEventListener('submit', event => {
    event.preventDefault();
    token = id('token').value;
    sessionStorage.setItem('tidegate-token', token);
    id('token').value = '';
    say('');
    ask();
  });
  for (const button of id('orders').children) button.addEventListener('click', () => order(button.value));
  id('dialog').addEventListener('close', () => { state.open = null; });
  document.addEventListener('visibilitychange', () => { if (!document.hidden && id('login').hidden) ask(); });
  // For tests and for the console: stop the clock, show a status of one's own.
  globalThis.tidegate = { pause(on) { state.paused = on; }, render, last: () => state.last };
  ask();
})();
