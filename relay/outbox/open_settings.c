/* SPDX-License-Identifier: ISC */
/*
 * open_settings.c - what a session of the relay sets
 */
#include "open_settings.h"

/* Statements of ours must walk the id index whatever the statistics say of a table that is empty
 * one second and a million rows the next, must wait for no lock for long, and must see each other's
 * commits. Whatever the role or the database has by default, a COMMIT that was answered must
 * survive a crash: its events are not remembered. A relay whose host has vanished must not keep the
 * lock: keepalives find out within some ten seconds, and over a unix socket, where no host can
 * vanish, they do nothing. What this version of Postgres does not know is left out, and so is
 * client_connection_check_interval where it may be refused (manual: it rests on poll(2) extensions
 * of Linux). */
const char open_settings[] =
    "SELECT set_config(name, value, false) FROM (VALUES "
    "('plan_cache_mode', 'force_generic_plan'), "
    "('enable_seqscan', 'off'), ('enable_bitmapscan', 'off'), ('enable_hashjoin', 'off'), "
    "('enable_mergejoin', 'off'), ('jit', 'off'), ('max_parallel_workers_per_gather', '0'), "
    "('default_transaction_isolation', 'read committed'), ('default_transaction_read_only', "
    "'off'), "
    "('statement_timeout', '0'), ('transaction_timeout', '0'), ('lock_timeout', '5s'), "
    "('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on')), "
    "('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', "
    "'3'), "
    "(CASE WHEN version() ~ 'linux' THEN 'client_connection_check_interval' END, '5s')) "
    "AS settings (name, value) "
    "WHERE current_setting(name, true) IS NOT NULL";

/* A database without an encoding (SQL_ASCII) may hold bytes that are not UTF-8, and asked for UTF-8
 * would refuse to give the row. */
const char open_encoding[] = "SELECT set_config('client_encoding', 'SQL_ASCII', false) "
			     "WHERE current_setting('server_encoding') = 'SQL_ASCII'";
