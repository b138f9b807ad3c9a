-- SPDX-License-Identifier: ISC
-- The trigger most publishers come with: a notification at every statement.
CREATE OR REPLACE FUNCTION naive.notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('naive', TG_RELID::text);
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER notify AFTER INSERT ON naive.outbox_events
    FOR EACH STATEMENT EXECUTE FUNCTION naive.notify();
