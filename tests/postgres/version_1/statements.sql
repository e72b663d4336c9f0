-- What a daemon of the version that made the first schema says, word for word.

PREPARE look AS
SELECT number, beat, released, holder, sends_until, holder_name FROM stackcron.lease;

PREPARE take (bigint, bigint, bigint, bigint, boolean, text) AS
UPDATE stackcron.lease
SET number = number + 1, beat = beat + 1, released = false, holder = $1, holder_name = $6,
    sends_until = greatest(sends_until, $2)
WHERE number = $3 AND beat = $4 AND released = $5
RETURNING number;

PREPARE keep (bigint, bigint) AS
UPDATE stackcron.lease SET beat = beat + 1, sends_until = greatest(sends_until, $2)
WHERE number = $1 AND NOT released
RETURNING number;

PREPARE release (bigint) AS
UPDATE stackcron.lease SET beat = beat + 1, released = true WHERE number = $1 AND NOT released;

PREPARE sign (bigint, text, text, text, integer, bigint) AS
INSERT INTO stackcron.member (id, name, version, schedule, entries, offset_ms)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET
    schedule = excluded.schedule, entries = excluded.entries, offset_ms = excluded.offset_ms,
    seen_at = clock_timestamp()
RETURNING (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

PREPARE members AS
SELECT m.id, name, version, schedule, entries, offset_ms, coalesce(NOT released AND holder = m.id, false),
    (extract(epoch FROM clock_timestamp() - seen_at) * 1000)::bigint,
    (extract(epoch FROM started_at) * 1000000)::bigint
FROM stackcron.member m CROSS JOIN stackcron.lease
WHERE seen_at > now() - interval '1 hour'
ORDER BY 7 DESC, 8 > 5000, name, id;

PREPARE forget (bigint) AS
DELETE FROM stackcron.member WHERE id = $1 OR seen_at < now() - interval '1 hour';

PREPARE held (bigint) AS
SELECT FROM stackcron.lease WHERE number = $1 FOR KEY SHARE;

PREPARE journal AS
SELECT cursor, stopped_at FROM stackcron.journal;

PREPARE paused AS
SELECT entry FROM stackcron.paused ORDER BY 1;

PREPARE quotas AS
SELECT account, saved FROM stackcron.quota ORDER BY 1;

PREPARE open AS
SELECT scheduled_at, entry, due, state, attempts, sent, action, reason, account, stack, job, deadline, by_person, args, o.number
FROM stackcron.open o JOIN stackcron.target t ON t.id = o.target
ORDER BY scheduled_at, entry;

PREPARE begun AS
UPDATE stackcron.journal SET stopped_at = NULL;

PREPARE claim (bigint, bigint, bigint[], text[], text[], text[], text[], bigint[], bigint[], boolean[], text[]) AS
WITH lease AS MATERIALIZED (SELECT number FROM stackcron.lease WHERE number = $1 FOR KEY SHARE)
, claim AS MATERIALIZED (
    SELECT c.* FROM lease, unnest(
        $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::boolean[], $11::text[]
    ) AS c (scheduled_at, entry, account, stack, job, due, deadline, by_person, args)
), aim AS MATERIALIZED (
    SELECT DISTINCT account COLLATE "C" AS account, stack COLLATE "C" AS stack, job COLLATE "C" AS job FROM claim
), added AS (
    INSERT INTO stackcron.target (account, stack, job)
    SELECT account, stack, job FROM aim
    WHERE NOT EXISTS (SELECT FROM stackcron.target t
        WHERE t.account = aim.account AND t.stack = aim.stack AND t.job = aim.job)
    RETURNING id, account, stack, job
), target AS (
    SELECT id, account, stack, job FROM added
    UNION ALL
    SELECT t.id, t.account, t.stack, t.job FROM stackcron.target t
    JOIN aim ON t.account = aim.account AND t.stack = aim.stack AND t.job = aim.job
), moved AS (
    UPDATE stackcron.journal SET cursor = greatest(cursor, $2) FROM lease
), inserted AS (
    INSERT INTO stackcron.open AS o
        (scheduled_at, entry, target, due, deadline, by_person, args, state, attempts, number)
    SELECT c.scheduled_at, c.entry, t.id, c.due, c.deadline, c.by_person, c.args, 0, 0, $1
    FROM claim c JOIN target t ON t.account = c.account AND t.stack = c.stack AND t.job = c.job
    WHERE NOT EXISTS (SELECT FROM stackcron.settled s
        WHERE s.scheduled_at = c.scheduled_at AND s.entry = c.entry COLLATE "C")
    ON CONFLICT (scheduled_at, entry) DO UPDATE SET number = o.number
        WHERE o.number = excluded.number AND o.state = 0
    RETURNING scheduled_at, entry
)
SELECT EXISTS (SELECT FROM lease), inserted.scheduled_at, inserted.entry
FROM (SELECT) AS one LEFT JOIN inserted ON true;

PREPARE steps (bigint, bigint[], text[], boolean[], smallint[], bigint[], bigint[], bigint[], bigint[], boolean[], text[]) AS
WITH lease AS MATERIALIZED (SELECT number FROM stackcron.lease WHERE number = $1 FOR KEY SHARE)
, step AS MATERIALIZED (
    SELECT s.* FROM lease, unnest(
        $2::bigint[], $3::text[], $4::boolean[], $5::smallint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
        $10::boolean[], $11::text[]
    ) AS s (scheduled_at, entry, settles, state, attempts, sent, action, finished, success, reason)
), kept AS (
    UPDATE stackcron.open o
    SET state = s.state, attempts = s.attempts, sent = s.sent, action = s.action, reason = s.reason, number = $1
    FROM step s
    WHERE NOT s.settles AND o.scheduled_at = s.scheduled_at AND o.entry = s.entry COLLATE "C"
), ended AS (
    DELETE FROM stackcron.open o USING step s
    WHERE s.settles AND o.scheduled_at = s.scheduled_at AND o.entry = s.entry COLLATE "C"
    RETURNING o.scheduled_at, o.entry, o.target, o.due, s.state, s.attempts, s.sent, s.action, s.finished, s.success, s.reason
), settled AS (
    INSERT INTO stackcron.settled
        (scheduled_at, entry, target, due, state, attempts, sent, action, finished, success, reason, number)
    SELECT ended.*, $1 FROM ended
)
SELECT EXISTS (SELECT FROM lease);

PREPARE save_quotas (bigint, text[], text[]) AS
WITH lease AS MATERIALIZED (SELECT number FROM stackcron.lease WHERE number = $1 FOR KEY SHARE)
, saved AS (
    INSERT INTO stackcron.quota (account, saved)
    SELECT q.account, q.saved FROM lease, unnest($2::text[], $3::text[]) AS q (account, saved)
    ON CONFLICT (account) DO UPDATE SET saved = excluded.saved
)
SELECT EXISTS (SELECT FROM lease);

PREPARE pauses (bigint, text[], text[]) AS
WITH lease AS MATERIALIZED (SELECT number FROM stackcron.lease WHERE number = $1 FOR KEY SHARE)
, paused AS (
    INSERT INTO stackcron.paused (entry) SELECT p.entry FROM lease, unnest($2::text[]) AS p (entry)
    ON CONFLICT (entry) DO NOTHING
), resumed AS (
    DELETE FROM stackcron.paused p USING lease WHERE p.entry = ANY ($3::text[])
)
SELECT EXISTS (SELECT FROM lease);

PREPARE stopped (bigint, bigint) AS
WITH lease AS MATERIALIZED (SELECT number FROM stackcron.lease WHERE number = $1 FOR KEY SHARE)
, stopped AS (UPDATE stackcron.journal SET stopped_at = $2 FROM lease)
SELECT EXISTS (SELECT FROM lease);

PREPARE prune (bigint, bigint, bigint) AS
WITH lease AS MATERIALIZED (SELECT number FROM stackcron.lease WHERE number = $1 FOR KEY SHARE)
, pruned AS (
    DELETE FROM stackcron.settled s USING lease WHERE (s.scheduled_at, s.entry) IN
    (SELECT scheduled_at, entry FROM stackcron.settled WHERE scheduled_at < $2 ORDER BY 1, 2 LIMIT $3)
    RETURNING 1
)
SELECT EXISTS (SELECT FROM lease), (SELECT count(*) FROM pruned);

PREPARE actions (bigint, text) AS
SELECT action FROM (
    SELECT scheduled_at, entry, action, target FROM stackcron.open WHERE scheduled_at >= $1
    UNION ALL
    SELECT scheduled_at, entry, action, target FROM stackcron.settled WHERE scheduled_at >= $1
) AS o JOIN stackcron.target t ON t.id = o.target
WHERE action IS NOT NULL AND t.stack = $2 ORDER BY scheduled_at, entry;

PREPARE settled (bigint[], text[]) AS
SELECT s.scheduled_at, s.entry, s.state, s.action
FROM unnest($1::bigint[], $2::text[]) AS k (scheduled_at, entry)
JOIN stackcron.settled s ON s.scheduled_at = k.scheduled_at AND s.entry = k.entry COLLATE "C";

PREPARE history (bigint, bigint, text) AS
SELECT scheduled_at, entry, due, state, attempts, sent, action, NULL::bigint AS finished, NULL::boolean AS success, reason
FROM stackcron.open
WHERE scheduled_at >= $1 AND scheduled_at < $2 AND ($3::text IS NULL OR entry = $3)
UNION ALL
SELECT scheduled_at, entry, due, state, attempts, sent, action, finished, success, reason
FROM stackcron.settled
WHERE scheduled_at >= $1 AND scheduled_at < $2 AND ($3::text IS NULL OR entry = $3);
