-- What a registry needs, in the schema `gosd`. Whoever comes first makes it; making it twice is harmless.
CREATE TABLE IF NOT EXISTS gosd.instances (
    namespace  text NOT NULL DEFAULT 'gosd',
    id         text NOT NULL,
    service    text NOT NULL,
    url        text NOT NULL,
    metadata   jsonb NOT NULL DEFAULT '{}',
    expires_at timestamptz NOT NULL,
    lease      interval, -- bounds expires_at when the clock is set back; NULL from those who do not say
    PRIMARY KEY (namespace, id)
) WITH (fillfactor = 50);
-- No index has expires_at, and pages have room: so a heartbeat writes no index and leaves no dead row for
-- vacuum (a HOT update).

-- When a write in a namespace was last proved to be possible.
CREATE TABLE IF NOT EXISTS gosd.pulses (
    namespace text PRIMARY KEY,
    at        timestamptz NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE IF NOT EXISTS gosd.changes (
    seq       bigserial PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    namespace text NOT NULL,
    op        text NOT NULL,
    id        text NOT NULL,
    service   text,
    url       text,
    metadata  jsonb
);

CREATE TABLE IF NOT EXISTS gosd.layout (version integer PRIMARY KEY);

-- Writes one change to the log. The lock is held until the change can be seen, so that who reads the log
-- sees the numbers in order: without it a lower number could come after a higher one, and be missed.
CREATE OR REPLACE FUNCTION gosd.log_change(
    namespace text, op text, id text, service text, url text, metadata jsonb
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1735357284, 1);
    INSERT INTO gosd.changes (namespace, op, id, service, url, metadata)
    VALUES ($1, $2, $3, $4, $5, $6) RETURNING seq INTO number;
    PERFORM pg_notify('gosd', number::text);
END $$;

-- Triggers, so that whoever writes to `instances` is heard, psql included.
CREATE OR REPLACE FUNCTION gosd.on_put() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM gosd.log_change(NEW.namespace, 'put', NEW.id, NEW.service, NEW.url, NEW.metadata);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION gosd.on_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM gosd.log_change(OLD.namespace,
        CASE WHEN OLD.expires_at <= clock_timestamp() THEN 'expire' ELSE 'remove' END,
        OLD.id, NULL, NULL, NULL);
    RETURN NULL;
END $$;

-- All at once, which nobody says goodbye by: the log begins anew, and all who watch read all again.
CREATE OR REPLACE FUNCTION gosd.on_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM gosd.changes;
    PERFORM gosd.log_change('', 'start', md5(random()::text), NULL, NULL, NULL);
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS put ON gosd.instances;
CREATE TRIGGER put AFTER INSERT ON gosd.instances FOR EACH ROW EXECUTE FUNCTION gosd.on_put();

-- A renewal is no change, unless the lease had run out: watchers may not know of the instance.
DROP TRIGGER IF EXISTS change ON gosd.instances;
CREATE TRIGGER change AFTER UPDATE ON gosd.instances FOR EACH ROW
    WHEN (NEW.service IS DISTINCT FROM OLD.service OR NEW.url IS DISTINCT FROM OLD.url
        OR NEW.metadata IS DISTINCT FROM OLD.metadata OR OLD.expires_at <= clock_timestamp())
    EXECUTE FUNCTION gosd.on_put();

DROP TRIGGER IF EXISTS leave ON gosd.instances;
CREATE TRIGGER leave AFTER DELETE ON gosd.instances FOR EACH ROW EXECUTE FUNCTION gosd.on_delete();

DROP TRIGGER IF EXISTS empty ON gosd.instances;
CREATE TRIGGER empty AFTER TRUNCATE ON gosd.instances EXECUTE FUNCTION gosd.on_truncate();

-- For the transaction: does not wait for the disk, because a record that a crash loses comes back with the
-- next heartbeat; and does not wait for long for whoever holds a lock, because a client that gives up and
-- connects anew leaves a connection behind that waits.
CREATE OR REPLACE FUNCTION gosd.go_easy() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true), set_config('lock_timeout', '2500', true);
END $$;

-- What clients say often: as functions, whose plans the server keeps for each of its connections.
CREATE OR REPLACE FUNCTION gosd.register(
    ns text, instance text, service text, url text, metadata jsonb, lease interval
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM gosd.go_easy();
    -- A value of 2 kB or more is stored apart from its row: anew, unless it is the old one.
    INSERT INTO gosd.instances AS i (namespace, id, service, url, metadata, expires_at, lease)
    VALUES (ns, instance, service, url, metadata, clock_timestamp() + lease, lease)
    ON CONFLICT ON CONSTRAINT instances_pkey DO UPDATE SET service = excluded.service,
        url = CASE i.url WHEN excluded.url THEN i.url ELSE excluded.url END,
        metadata = CASE i.metadata
            WHEN excluded.metadata THEN i.metadata ELSE excluded.metadata END,
        expires_at = excluded.expires_at, lease = excluded.lease;
END $$;

CREATE OR REPLACE FUNCTION gosd.deregister(ns text, instance text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Waits for the disk, because a crash that loses a goodbye would bring the instance back.
    PERFORM set_config('lock_timeout', '2500', true);
    DELETE FROM gosd.instances WHERE namespace = ns AND id = instance;
END $$;

-- Reads the log from an entry on, with times in microseconds.
CREATE OR REPLACE FUNCTION gosd.read_on(ns text, first bigint, most bigint) RETURNS TABLE (
    number bigint, written bigint, operation text, instance text, its_service text, its_url text,
    its_metadata text, is_ours boolean, age bigint
) LANGUAGE plpgsql ROWS 1 AS $$
BEGIN
    RETURN QUERY SELECT seq, (extract(epoch FROM at) * 1000000)::bigint, op, id, service, url,
        metadata::text, namespace = ns,
        (extract(epoch FROM clock_timestamp() - at) * 1000000)::bigint
    FROM gosd.changes WHERE seq >= first ORDER BY seq LIMIT most;
END $$;

-- Proves that a registration would be taken, corrects leases, and removes some that ran out; returns the
-- time. If somebody has done so in the last half second, it writes nothing.
--
-- `expected` is what the clock should show, as far as the caller knows; `troubled` is whether the caller
-- could not write for a while, or was out of contact; and `may_purge` whether it has looked all the time.
-- No row is waited for, since its holder may wait for the lock of the log.
CREATE OR REPLACE FUNCTION gosd.look(
    ns text, expected timestamptz, troubled boolean, may_purge boolean
) RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
    now timestamptz := clock_timestamp();
    tolerance CONSTANT interval := '1.5 s';
    is_set boolean := expected IS NOT NULL AND abs(extract(epoch FROM now - expected)) > 1.5;
    pulse timestamptz;
BEGIN
    PERFORM gosd.go_easy();
    -- Writes nothing, and fails for want of a right as a registration does.
    INSERT INTO gosd.instances AS i (namespace, id, service, url, expires_at)
    SELECT '', '', '', '', now WHERE false
    ON CONFLICT ON CONSTRAINT instances_pkey DO UPDATE SET expires_at = i.expires_at;
    SELECT at INTO pulse FROM gosd.pulses WHERE namespace = ns;
    IF pulse <= now AND pulse > now - interval '0.5 s' AND NOT is_set THEN
        RETURN now;
    END IF;
    SELECT at INTO pulse FROM gosd.pulses WHERE namespace = ns FOR UPDATE;
    INSERT INTO gosd.pulses AS p (namespace, at) VALUES (ns, now)
    ON CONFLICT (namespace) DO UPDATE SET at = now;

    IF is_set THEN
        -- A whole lease for each that would have one if nobody had set the clock. Who has renewed since
        -- then has one already.
        UPDATE gosd.instances i SET expires_at = now + i.lease
        WHERE i.namespace = ns AND i.id IN (
            SELECT id FROM gosd.instances o WHERE o.namespace = ns
                AND o.expires_at > expected AND o.expires_at - o.lease <= expected
            FOR UPDATE SKIP LOCKED);
    END IF;
    IF troubled AND (pulse IS NULL OR pulse < now - tolerance) THEN
        -- Half a lease for each that had one when writes were last taken.
        UPDATE gosd.instances i SET expires_at = now + i.lease / 2
        WHERE i.namespace = ns AND i.id IN (
            SELECT id FROM gosd.instances o WHERE o.namespace = ns
                AND (pulse IS NULL OR o.expires_at > pulse) AND o.expires_at < now + o.lease / 2
            FOR UPDATE SKIP LOCKED);
    END IF;
    IF may_purge THEN
        DELETE FROM gosd.instances i
        WHERE i.namespace = ns AND i.expires_at <= now AND i.id IN (
            SELECT id FROM gosd.instances o WHERE o.namespace = ns AND o.expires_at <= now
            LIMIT 500 FOR UPDATE SKIP LOCKED);
        -- Longer than any lease can be: written while the clock was ahead.
        UPDATE gosd.instances i SET expires_at = now + i.lease
        WHERE i.namespace = ns AND i.id IN (
            SELECT id FROM gosd.instances o WHERE o.namespace = ns
                AND o.expires_at > clock_timestamp() + tolerance + o.lease
            FOR UPDATE SKIP LOCKED);
        IF (SELECT max(seq) FROM gosd.changes) - (SELECT min(seq) FROM gosd.changes) >= 20000 THEN
            DELETE FROM gosd.changes WHERE seq <= (SELECT max(seq) FROM gosd.changes) - 10000;
        END IF;
    END IF;
    RETURN now;
END $$;

-- The log is never empty, so that a watcher always has an entry to resume at.
INSERT INTO gosd.changes (namespace, op, id)
SELECT '', 'start', md5(random()::text) WHERE NOT EXISTS (SELECT FROM gosd.changes);

INSERT INTO gosd.layout VALUES (1) ON CONFLICT DO NOTHING;
