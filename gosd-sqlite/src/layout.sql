CREATE TABLE instances (
    namespace  TEXT NOT NULL DEFAULT 'gosd',
    id         TEXT NOT NULL,
    service    TEXT NOT NULL,
    url        TEXT NOT NULL,
    metadata   TEXT NOT NULL DEFAULT '{}',
    expires_at INTEGER NOT NULL,
    lease_ms   INTEGER, -- bounds expires_at when the clock is set back; NULL from those who do not say
    PRIMARY KEY (namespace, id)
) WITHOUT ROWID;

CREATE INDEX instances_by_expiry ON instances (namespace, expires_at);

CREATE TABLE changes (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    op        TEXT NOT NULL,
    id        TEXT NOT NULL,
    service   TEXT,
    url       TEXT,
    metadata  TEXT
);

-- Triggers, so that whoever writes to `instances` is heard, the sqlite3 shell included. The time is
-- spelled out because a shell may be older than unixepoch('subsec').
CREATE TRIGGER instances_insert AFTER INSERT ON instances BEGIN
    INSERT INTO changes (at, namespace, op, id, service, url, metadata)
    VALUES (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER),
            NEW.namespace, 'put', NEW.id, NEW.service, NEW.url, NEW.metadata);
END;

-- A renewal is no change, unless the lease had run out: watchers may not know of the instance.
CREATE TRIGGER instances_update AFTER UPDATE ON instances
WHEN NEW.service IS NOT OLD.service OR NEW.url IS NOT OLD.url OR NEW.metadata IS NOT OLD.metadata
    OR OLD.expires_at <= CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)
BEGIN
    INSERT INTO changes (at, namespace, op, id, service, url, metadata)
    VALUES (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER),
            NEW.namespace, 'put', NEW.id, NEW.service, NEW.url, NEW.metadata);
END;

CREATE TRIGGER instances_delete AFTER DELETE ON instances BEGIN
    INSERT INTO changes (at, namespace, op, id)
    SELECT now, OLD.namespace, iif(OLD.expires_at <= now, 'expire', 'remove'), OLD.id
    FROM (SELECT CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) AS now);
END;

-- The log is never empty, so that a watcher always has an entry to resume at.
INSERT INTO changes (at, namespace, op, id)
VALUES (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), '', 'start', hex(randomblob(16)));
