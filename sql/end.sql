-- SPDX-License-Identifier: ISC
-- outbox-relay: comes last in every script, and gives the session the settings back that it had before
-- begin.sql. No migration.

SELECT set_config('quote_all_identifiers', current_setting('outbox_relay.quote_all_identifiers'), false),
       set_config('search_path', current_setting('outbox_relay.search_path'), false);
