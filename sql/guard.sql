-- SPDX-License-Identifier: ISC
-- outbox-relay: schema outbox_relay is the relay's own. No migration: `outbox-relay migrate` runs it before
-- 0001, and so does the script that `--print` writes. It changes nothing, and fails where the schema belongs
-- to another role or holds what these files have not made. What a new file makes there is added here.

DO $$
DECLARE
    home  oid;
    owner oid;
    other text;
BEGIN
    SELECT n.oid, n.nspowner INTO home, owner FROM pg_namespace n WHERE n.nspname = 'outbox_relay';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF NOT pg_has_role(owner, 'USAGE') THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('schema outbox_relay belongs to role '
            '%I, and role %I is no member of it; where several services share a database, an administrator '
            'runs outbox-relay migrate for each of them, with --table and --role (see the guide, '
            '"Several services in one database")', pg_get_userbyid(owner), current_user);
    END IF;

    SELECT format('%s outbox_relay.%I', o.kind, o.name) INTO other FROM (
        SELECT CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
               WHEN 'c' THEN 'type' WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind, c.relname AS name
          FROM pg_class c
         WHERE c.relnamespace = home AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c', 'S')
           AND NOT (c.relkind = 'S' AND (left(c.relname, 5) = 'bell_' OR left(c.relname, 6) = 'depth_'
               OR c.relname IN (
               'operator_actions_number_seq', 'dead_letters_number_seq', 'letter_requests_number_seq',
               'replays_number_seq', 'positions_number_seq')))
           AND NOT (c.relkind = 'r' AND c.relname IN ('schema_version', 'outboxes', 'dead_letters',
                                                        'operator_actions', 'letter_requests', 'depths', 'replays',
                                                        'positions', 'settled_ahead', 'withdrawn',
                                                        'producers', 'producer_shards')
                    AND NOT EXISTS (
                        SELECT FROM (VALUES ('schema_version', 'version', 'int4'::regtype),
                                            ('schema_version', 'script', 'text'),
                                            ('outboxes', 'outbox', 'regclass'),
                                            ('outboxes', 'bell', 'regclass'),
                                            ('outboxes', 'settle', 'text'),
                                            ('dead_letters', 'outbox', 'regclass'),
                                            ('dead_letters', 'id', 'int8'),
                                            ('dead_letters', 'event_id', 'text'),
                                            ('dead_letters', 'payload', 'bytea'),
                                            ('operator_actions', 'number', 'int8'),
                                            ('operator_actions', 'outbox', 'regclass'),
                                            ('letter_requests', 'letter', 'int8'),
                                            ('depths', 'base', 'regclass'),
                                            ('replays', 'number', 'int8'),
                                            ('replays', 'position', 'int8'),
                                            ('positions', 'finished', 'pg_snapshot'),
                                            ('settled_ahead', 'event_id', 'text'),
                                            ('withdrawn', 'event_id', 'text'),
                                            ('producers', 'settled', 'int8'),
                                            ('producer_shards', 'slot', 'int4')) AS ours (rel, col, type)
                         WHERE ours.rel = c.relname AND NOT EXISTS (
                               SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = ours.col
                                  AND a.atttypid = ours.type AND NOT a.attisdropped)))
         UNION ALL
        SELECT 'function', p.proname FROM pg_proc p
         WHERE p.pronamespace = home
           AND NOT (p.proname IN ('ring', 'note_pause', 'note_requests', 'depth_guard', 'keep_x', 'keep_place') AND p.pronargs = 0
                    AND p.prorettype = 'trigger'::regtype)
           AND NOT (p.proname IN ('raise_letters', 'server_line') AND p.pronargs = 0)
           AND NOT (p.proname IN ('record_action', 'depth_guard', 'set_depth_guard', 'raise_ids', 'set_position', 'withdraw',
                                  'take_slot', 'set_where')
                    AND p.pronargs = 3)
           AND NOT (p.proname IN ('count_depth', 'judge_depth', 'own_shards') AND p.pronargs = 4)
           AND NOT (p.proname IN ('range_partitions', 'partitions_ahead', 'kept_by_partman', 'own_outbox',
                                  'position_home', 'last_positions', 'lacks_positions', 'settled_condition',
                                  'drop_x', 'lock_outbox', 'lock_positions', 'is_event', 'renew_producers',
                                  'admit_partitions', 'range_trouble', 'meets', 'refuse_relays') AND p.pronargs = 1)
           AND NOT (p.proname IN ('range_number', 'make_partitions', 'grant_partitions', 'leave_positions', 'count_waiting',
                                  'waiting_rows', 'rows_to_keep', 'hand_over_position', 'note_aside',
                                  'judge_where', 'becomes_event', 'change_where', 'hand_over_producers')
                    AND p.pronargs = 2)
           AND NOT (p.proname IN ('range_position', 'drop_partition') AND p.pronargs = 3)
           AND NOT (p.proname IN ('range_after', 'make_partition', 'make_missing', 'begin_positions') AND p.pronargs = 4)
           AND NOT (p.proname IN ('next_partition', 'drop_partition', 'drop_partitions', 'take_up', 'resolved_slot')
                    AND p.pronargs = 5)
           AND NOT (p.proname = 'drop_partitions' AND p.pronargs = 8)
           AND NOT (p.proname = 'purge_settled' AND p.pronargs = 7)
         UNION ALL
        SELECT 'type', t.typname FROM pg_type t
         WHERE t.typnamespace = home AND t.typrelid = 0 AND t.typcategory <> 'A') AS o
     LIMIT 1;
    IF FOUND THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('schema outbox_relay holds %s, which '
            'outbox-relay has not made; the schema is the relay''s own: move what is yours to another one '
            '(ALTER ... SET SCHEMA), or rename this one', other);
    END IF;
END $$;
