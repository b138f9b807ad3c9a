-- SPDX-License-Identifier: ISC
-- outbox-relay 16: exactly once (kafka.delivery = "exactly-once"). A relay publishes each batch in a transaction of Kafka,
-- under one of 64 producers of the outbox, its slot, whose advisory lock it holds. Kafka's ledger has each batch that was
-- committed there, by its number; here is how far those are settled. So what may be in doubt is exactly what the ledger
-- has above that number, and whoever locks a slot settles it before anything else.

-- The producers' names in Kafka begin with it: another database that has the same name has other producers. A copy of
-- this one has the same, and must be given another (docs/exactly-once.md).
ALTER TABLE outbox_relay.outboxes ADD COLUMN IF NOT EXISTS producers uuid NOT NULL DEFAULT gen_random_uuid();

CREATE TABLE IF NOT EXISTS outbox_relay.producers (
    outbox  regclass NOT NULL,
    slot    integer  NOT NULL CHECK (slot BETWEEN 0 AND 63),
    settled bigint   NOT NULL DEFAULT 0, -- the last batch that is; each batch's own transaction writes it
    line    text,                        -- the server and its timeline when the slot was last resolved; NULL: it never was
    cluster text,                        -- Kafka's, likewise
    PRIMARY KEY (outbox, slot)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);

-- Which slot may have events of a shard in doubt. Written before a relay claims from the shard, and gone once it has
-- handed it over, or once the slot is resolved. layout: of the relay that wrote it.
CREATE TABLE IF NOT EXISTS outbox_relay.producer_shards (
    outbox regclass NOT NULL,
    layout bigint   NOT NULL,
    shard  bigint   NOT NULL,
    slot   integer  NOT NULL,
    PRIMARY KEY (outbox, layout, shard)
);

-- The server, and its timeline: another one after a failover or a restore. After a promotion pg_control_checkpoint()
-- still has the old one.
CREATE OR REPLACE FUNCTION outbox_relay.server_line() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                     ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int)
$$;

-- Takes a slot for this session: one that somebody has left in doubt, if there is one, or rather none of these, as
-- `clean` says; else the lowest that was used. No row: all are taken. key: of the lock of slot 0.
CREATE OR REPLACE FUNCTION outbox_relay.take_slot(box regclass, key integer, clean boolean)
    RETURNS TABLE (slot integer, settled bigint, producers uuid, cluster text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    candidate integer;
BEGIN
    FOR candidate IN
        SELECT g.slot FROM generate_series(0, 63) AS g (slot)
          LEFT JOIN outbox_relay.producers AS p ON p.outbox = box AND p.slot = g.slot
         ORDER BY (EXISTS (SELECT FROM outbox_relay.producer_shards AS s WHERE s.outbox = box AND s.slot = g.slot)
                   OR coalesce(p.line <> outbox_relay.server_line(), false)) = clean, p.slot IS NULL, g.slot
    LOOP
        CONTINUE WHEN NOT pg_try_advisory_lock(box::oid::int, key + candidate);
        INSERT INTO outbox_relay.producers (outbox, slot) VALUES (box, candidate) ON CONFLICT DO NOTHING;
        -- One that was never used has published nowhere; the others tell to which cluster the outbox goes.
        RETURN QUERY SELECT p.slot, p.settled, o.producers,
                            coalesce(p.cluster, (SELECT max(q.cluster) FROM outbox_relay.producers AS q
                                                  WHERE q.outbox = box), '')
                       FROM outbox_relay.producers AS p JOIN outbox_relay.outboxes AS o ON o.outbox = p.outbox
                      WHERE p.outbox = box AND p.slot = candidate;
        RETURN;
    END LOOP;
END $$;

-- What the slot has in doubt is settled, up to that batch. Who holds the slot's lock may. used: the slots, as bits, of which
-- Kafka's ledger has something. One that was resolved never, as far as this server knows, was used by another server, whose
-- last commits are lost: it is in doubt (a line of '').
CREATE OR REPLACE FUNCTION outbox_relay.resolved_slot(box regclass, own integer, upto bigint, kafka text, used bigint)
    RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    UPDATE outbox_relay.producers AS p SET settled = upto, line = outbox_relay.server_line(),
                                          cluster = coalesce(kafka, p.cluster)
     WHERE p.outbox = box AND p.slot = own;
    DELETE FROM outbox_relay.producer_shards AS s WHERE s.outbox = box AND s.slot = own;
    INSERT INTO outbox_relay.producers AS p (outbox, slot, line)
    SELECT box, k, '' FROM generate_series(0, 63) AS k WHERE k <> own AND used >> k & 1 = 1
       -- Rows that stay as they are must not be locked: relays would wait for each other.
       AND NOT EXISTS (SELECT FROM outbox_relay.producers AS q WHERE q.outbox = box AND q.slot = k AND q.line IS NOT NULL)
     ORDER BY k
        ON CONFLICT (outbox, slot) DO UPDATE SET line = '' WHERE p.line IS NULL;
$$;

-- Makes the shards those of the slot, if no other slot may have something of them in doubt: NULL. Otherwise nothing is
-- done, and it is told which one has to be resolved before: whoever wants to may lock it, if nobody has.
-- The slot's own shards are then free of it, since it has nothing in doubt: the session may be ended.
CREATE OR REPLACE FUNCTION outbox_relay.own_shards(box regclass, own integer, layout bigint, shards bigint[])
    RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    other integer;
BEGIN
    SELECT d.slot INTO other FROM (
        SELECT s.slot FROM outbox_relay.producer_shards AS s
         WHERE s.outbox = box AND s.slot <> own AND (s.layout <> own_shards.layout OR s.shard = ANY (shards))
        UNION ALL
        SELECT p.slot FROM outbox_relay.producers AS p
         WHERE p.outbox = box AND p.slot <> own AND p.line <> outbox_relay.server_line()) AS d LIMIT 1;
    IF other IS NOT NULL THEN
        DELETE FROM outbox_relay.producer_shards AS s WHERE s.outbox = box AND s.slot = own;
        RETURN other;
    END IF;
    INSERT INTO outbox_relay.producer_shards (outbox, layout, shard, slot)
    SELECT box, own_shards.layout, k, own FROM unnest(shards) AS k ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

-- Of tables that were dropped since.
DELETE FROM outbox_relay.producers p WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = p.outbox);
DELETE FROM outbox_relay.producer_shards s WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.outbox);

DO $$
DECLARE
    who name;
    rel regclass;
BEGIN
    REVOKE ALL ON FUNCTION outbox_relay.server_line(), outbox_relay.take_slot(regclass, integer, boolean),
        outbox_relay.resolved_slot(regclass, integer, bigint, text, bigint),
        outbox_relay.own_shards(regclass, integer, bigint, bigint[]) FROM PUBLIC;
    FOR who IN SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid = o.relay LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON outbox_relay.producers, outbox_relay.producer_shards TO %I',
                       who);
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.take_slot(regclass, integer, boolean), '
                       'outbox_relay.resolved_slot(regclass, integer, bigint, text, bigint), '
                       'outbox_relay.own_shards(regclass, integer, bigint, bigint[]) TO %I', who);
    END LOOP;
    FOR who IN SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid IN (o.relay, o.operator) LOOP
        EXECUTE format('GRANT SELECT ON outbox_relay.producers, outbox_relay.producer_shards TO %I', who);
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.server_line() TO %I', who);
    END LOOP;
    FOREACH rel IN ARRAY ARRAY['outbox_relay.producers', 'outbox_relay.producer_shards']::regclass[] LOOP
        IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = rel) THEN
            EXECUTE format('CREATE POLICY own ON %s USING (outbox IN (SELECT o.outbox FROM outbox_relay.outboxes o '
                           'WHERE pg_catalog.pg_has_role(o.relay, ''USAGE'') '
                           'OR pg_catalog.pg_has_role(o.operator, ''USAGE'')))', rel);
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', rel);
        END IF;
    END LOOP;
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (16, '0016_exactly_once.sql') ON CONFLICT DO NOTHING;
