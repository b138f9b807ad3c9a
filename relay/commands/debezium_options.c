/* SPDX-License-Identifier: ISC */
/*
 * debezium_options.c - every option of Debezium, once: its default, what becomes of it, or why not
 *
 * docs/debezium.md has the same table for people; tests/system/test_import_debezium.py compares.
 * The defaults are of the documentation of Debezium 3.0's PostgreSQL connector, outbox event router
 * and server, of Kafka Connect 3.9 and of its producer.
 */
#include "debezium.h"

/* clang-format off */
/* Code asks for it by its name. */
#define BY(option, initial) \
	{.name = (option), .fate = DEBEZIUM_CARRIED, .fallback = (initial)}
/* The same, where the code has to know which word it is. */
#define CHOICE(option, initial) \
	{.name = (option), .fate = DEBEZIUM_CARRIED, .fallback = (initial), .chooses = true}
/* Its value, or what stands for it, becomes another option's. */
#define TO(option, initial, other, words, lost) \
	{.name = (option), .fate = DEBEZIUM_CARRIED, .fallback = (initial), .to = (other), \
	 .values = (words), .why = (lost)}
#define NOTHING(option) \
	{.name = (option), .fate = DEBEZIUM_NOTHING}
/* Lost, unless its value is one of the harmless ones. */
#define LOST(option, harmless, lost) \
	{.name = (option), .fate = DEBEZIUM_LOST, .values = (harmless), .why = (lost)}

#define NO_SUCH_VALUE \
	"the relay has no such value; consumers would get other bytes: choose another one, and " \
	"compare"
#define NO_TLS_LIKE \
	"it is Java's; the TLS of librdkafka is chosen by kafka.properties (ssl.cipher.suites and " \
	"others, with OpenSSL's words)"
#define NO_CALLBACK \
	"it is a class of Java; for OAUTHBEARER and IAM set kafka.oauthbearer_token_command " \
	"(docs/secrets.md)"
#define NO_SIGNALS \
	"the relay takes no signals; to publish rows again there is outbox-relay replay"
#define NO_CHANGED_COLUMNS \
	"the relay publishes columns as they are; do the same in the application, or with a " \
	"generated column"

const struct debezium_rule debezium_rules[] = {
	/* ---- the connector ---- */
	BY("connector.class", NULL),
	BY("transforms", NULL),
	BY("topic.prefix", NULL),
	BY("database.server.name", NULL),
	NOTHING("name"),
	NOTHING("tasks.max"),
	NOTHING("tasks.max.enforce"),
	NOTHING("config.action.reload"),

	/* ---- the database ---- */
	BY("database.hostname", NULL),
	BY("database.port", "5432"),
	BY("database.user", NULL),
	BY("database.password", NULL),
	BY("database.dbname", NULL),
	TO("database.sslmode", "prefer", "dsn sslmode", "disable=|allow=|prefer=|require=|verify-ca=|verify-full=",
	   "libpq has no such mode; set sslmode in database.dsn"),
	TO("database.sslcert", NULL, "dsn sslcert", NULL, NULL),
	TO("database.sslkey", NULL, "dsn sslkey", NULL, NULL),
	TO("database.sslrootcert", NULL, "dsn sslrootcert", NULL, NULL),
	TO("database.tcpKeepAlive", "true", "dsn keepalives", "true=1|false=0", NULL),
	LOST("database.sslpassword", NULL,
	     "a secret is not copied; add sslpassword=${file:PATH} to database.dsn, where PATH holds it"),
	LOST("database.sslfactory", NULL,
	     "it is a class of Java; choose sslmode and sslrootcert in database.dsn instead"),
	LOST("database.initial.statements", NULL,
	     "the relay runs no statements of others; use ALTER ROLE ... SET for settings"),
	LOST("database.connection.factory.class", NULL, "it is a class of Java; nothing stands for it"),
	NOTHING("database.query.timeout.ms"),
	NOTHING("database.connection.timeout.ms"),
	NOTHING("connection.validation.timeout.ms"),
	LOST("driver.*", NULL,
	     "it is an option of the JDBC driver; set what is like it in database.dsn, as libpq names it"),
	LOST("database.*", NULL,
	     "it is not known; if it is an option of the JDBC driver, set what is like it in database.dsn"),

	/* ---- which table ---- */
	BY("table.include.list", NULL),
	BY("table.whitelist", NULL),
	NOTHING("table.exclude.list"),
	NOTHING("table.blacklist"),
	NOTHING("schema.include.list"),
	NOTHING("schema.exclude.list"),
	NOTHING("table.ignore.builtin"),
	NOTHING("column.include.list"),
	NOTHING("column.exclude.list"),
	LOST("column.mask.*", NULL, NO_CHANGED_COLUMNS),
	LOST("column.truncate.*", NULL, NO_CHANGED_COLUMNS),
	LOST("column.propagate.source.type", NULL,
	     "schemas of the relay have no parameters with the columns' types; consumers must not need them"),
	LOST("datatype.propagate.source.type", NULL,
	     "schemas of the relay have no parameters with the columns' types; consumers must not need them"),
	NOTHING("message.key.columns"),

	/* ---- the write-ahead log, which the relay does not read ---- */
	NOTHING("plugin.name"),
	NOTHING("slot.*"),
	NOTHING("publication.*"),
	NOTHING("publish.via.partition.root"),
	NOTHING("replica.identity.autoset.values"),
	NOTHING("status.update.interval.ms"),
	NOTHING("xmin.fetch.interval.ms"),
	NOTHING("lsn.*"),
	NOTHING("flush.lsn.source"),
	NOTHING("offset.*"),
	NOTHING("offsets.storage.topic"),
	NOTHING("read.only"),
	NOTHING("unavailable.value.placeholder"),
	NOTHING("schema.refresh.mode"),
	NOTHING("include.unknown.datatypes"),
	NOTHING("include.schema.*"),
	NOTHING("schema.history.*"),
	NOTHING("database.history.*"),
	LOST("message.prefix.*", NULL,
	     "the relay reads rows, not messages of pg_logical_emit_message; insert such events into the outbox"),
	LOST("heartbeat.interval.ms", "0",
	     "the relay has no slot that holds back the log, and publishes no heartbeats; consumers of the "
	     "topics __debezium-heartbeat.* get nothing more"),
	NOTHING("heartbeat.topics.prefix"),
	LOST("heartbeat.action.query", NULL,
	     "the relay has no slot that needs it; drop the table that it writes to, if nothing else reads it"),
	NOTHING("topic.heartbeat.*"),

	/* ---- snapshots and signals ---- */
	NOTHING("snapshot.*"),
	NOTHING("streaming.delay.ms"),
	NOTHING("legacy.snapshot.*"),
	LOST("signal.data.collection", NULL, NO_SIGNALS),
	LOST("signal.enabled.channels", "source", NO_SIGNALS),
	NOTHING("signal.*"),
	NOTHING("incremental.snapshot.*"),
	LOST("notification.*", NULL, "the relay sends no notifications; it has metrics (docs/metrics.md)"),

	/* ---- what a change becomes ---- */
	NOTHING("tombstones.on.delete"),
	LOST("skipped.operations", "none|t|u|d|u,d|d,u|u,d,t|d,t|u,t|t,d|t,u",
	     "the relay publishes every row that is inserted; take the option out, or pause the relay"),
	NOTHING("skip.messages.without.change"),
	TO("decimal.handling.mode", "precise", "encode.decimal", "precise=|string=|double=", NO_SUCH_VALUE),
	TO("time.precision.mode", "adaptive", "encode.time",
	   "adaptive=|adaptive_time_microseconds=|connect=", NO_SUCH_VALUE),
	TO("binary.handling.mode", "bytes", "encode.binary",
	   "bytes=|base64=|base64-url-safe=|hex=", NO_SUCH_VALUE),
	TO("interval.handling.mode", "numeric", "encode.interval", "numeric=|string=", NO_SUCH_VALUE),
	LOST("hstore.handling.mode", "json",
	     "columns of type hstore cannot be encoded; give the relay a generated column of type jsonb"),
	LOST("money.fraction.digits", "2",
	     "columns of type money cannot be encoded; give the relay a generated column of type numeric"),
	LOST("schema.name.adjustment.mode", "none",
	     "the relay leaves the names in schemas as they are; consumers must not need other names"),
	LOST("field.name.adjustment.mode", "none",
	     "the relay leaves the names of fields as they are; use names that need no adjustment"),
	LOST("converters", NULL,
	     "it names classes of Java; convert the column in the application, or with a generated column"),
	LOST("post.processors", NULL, "it names classes of Java; nothing stands for it"),
	LOST("provide.transaction.metadata", "false", "the relay publishes no metadata of transactions"),
	LOST("extended.headers.enabled", "false",
	     "the relay writes no headers with the context of the connector; constants can stand in route.headers"),
	LOST("topic.naming.strategy", "io.debezium.schema.SchemaTopicNamingStrategy|io.debezium.schema.DefaultTopicNamingStrategy",
	     "it is a class of Java; if schemas are published, set encode.schema_namespace to what it gave"),
	NOTHING("topic.delimiter"),
	NOTHING("topic.cache.size"),
	NOTHING("topic.transaction"),
	NOTHING("topic.creation.enable"),
	LOST("topic.creation.*", NULL,
	     "the relay creates no topics; create them before, or let the brokers do it"),
	NOTHING("sanitize.field.names"),
	NOTHING("sourceinfo.struct.maker"),

	/* ---- how it runs ---- */
	TO("errors.tolerance", "none", "outbox.on_reject", "none=park|all=dead-letter", NO_SUCH_VALUE),
	LOST("errors.deadletterqueue.*", NULL,
	     "Kafka Connect has it for sinks only; for copies of rejected events set route.dead_letter_topic"),
	NOTHING("errors.*"),
	NOTHING("event.processing.failure.handling.mode"),
	NOTHING("event.converting.failure.handling.mode"),
	TO("exactly.once.support", "requested", "kafka.delivery",
	   "requested=at-least-once|required=exactly-once", NO_SUCH_VALUE),
	NOTHING("transaction.boundary*"),
	NOTHING("transaction.metadata.factory"),
	NOTHING("max.batch.size"),
	NOTHING("max.queue.size*"),
	NOTHING("queue.provider.*"),
	NOTHING("poll.interval.ms"),
	NOTHING("poll.dispatch.interval.ms"),
	NOTHING("query.fetch.size"),
	NOTHING("retriable.restart.connector.wait.ms"),
	NOTHING("executor.shutdown.timeout.ms"),
	NOTHING("record.processing.*"),
	NOTHING("custom.metric.tags"),
	NOTHING("custom.sanitize.pattern"),
	NOTHING("statistics.metrics.enabled"),
	NOTHING("guardrail.*"),
	LOST("openlineage.*", "false", "the relay tells OpenLineage nothing"),
	LOST("predicates", NULL,
	     "every row of outbox.table is an event to the relay; a predicate that only tells the outbox "
	     "from other tables is not needed"),
	NOTHING("predicates.*"),

	/* ---- the outbox event router ---- */
	NOTHING("router:type"),
	LOST("router:predicate", NULL,
	     "every row of outbox.table is an event to the relay; a predicate that only tells the outbox "
	     "from other tables is not needed"),
	NOTHING("router:negate"),
	BY("router:table.field.event.id", "id"),
	BY("router:table.field.event.key", "aggregateid"),
	BY("router:table.field.event.type", "type"),
	BY("router:table.field.event.payload", "payload"),
	BY("router:table.field.event.timestamp", NULL),
	BY("router:table.field.event.schema.version", NULL),
	CHOICE("router:table.fields.additional.placement", NULL),
	LOST("router:table.field.additional.missing", "error",
	     "the relay does not start if a column is missing; take those that the table lacks out of "
	     "route.headers"),
	LOST("router:table.fields.additional.error.on.missing", "true",
	     "the relay does not start if a column is missing; take those that the table lacks out of "
	     "route.headers"),
	TO("router:table.expand.json.payload", "false", "encode.expand", "true=|false=", NULL),
	TO("router:table.json.payload.null.behavior", "ignore", "encode.null_fields",
	   "ignore=drop|optional_bytes=keep", NO_SUCH_VALUE),
	TO("router:table.json.payload.empty.array.behavior", "ignore", "encode.empty_arrays",
	   "ignore=drop|optional_string=keep", NO_SUCH_VALUE),
	LOST("router:table.op.invalid.behavior", "warn",
	     "the relay does not see updates: a row is published as it is when it is read. The role "
	     "outbox_writer has no right to update; give applications that one"),
	LOST("router:debezium.op.invalid.behavior", "warn",
	     "the relay does not see updates: a row is published as it is when it is read. The role "
	     "outbox_writer has no right to update; give applications that one"),
	BY("router:route.by.field", "aggregatetype"),
	BY("router:route.topic.regex", "(?<routedByValue>.*)"),
	BY("router:route.topic.replacement", "outbox.event.${routedByValue}"),
	TO("router:route.tombstone.on.empty.payload", "false", "encode.tombstone_on_empty",
	   "true=|false=", NULL),
	LOST("router:tracing.*", NULL,
	     "the relay makes no spans; place a column that has traceparent in route.headers"),
	LOST("router:field.name.adjustment.mode", "none",
	     "the relay leaves the names of fields as they are; use names that need no adjustment"),
	NOTHING("transforms.*"),

	/* ---- converters ---- */
	BY("key.converter", NULL),
	BY("value.converter", NULL),
	BY("header.converter", NULL),
	CHOICE("format.key", "json"),
	CHOICE("format.value", "json"),
	CHOICE("format.header", "json"),
	CHOICE("*converter.class", NULL),
	CHOICE("format.class", NULL),
	CHOICE("*converter.schemas.enable", "true"),
	CHOICE("format.schemas.enable", "true"),
	LOST("*.decimal.format", "BASE64",
	     "the relay writes numbers of type numeric as base64, as BASE64 does; set encode.decimal = "
	     "\"string\" or \"double\" where consumers can read that"),
	LOST("*converter.encoding", "UTF-8|UTF8|utf-8|utf8", "the relay writes UTF-8"),
	NOTHING("*.schemas.cache.size"),
	NOTHING("*.replace.null.with.default"),
	NOTHING("*.delegate.converter.type.*"),
	LOST("*.delegate.converter.type", NULL,
	     "the relay has no converter behind that for bytes: a payload that is not bytea is published as "
	     "its text; if consumers get it otherwise, set encode.value to json or json-schema, and compare"),
	NOTHING("*converter.type"),
	LOST("*converter.*", NULL,
	     "it is an option of a converter that the relay does not have; serialize in the application"),
	LOST("format.*", NULL,
	     "it is an option of a converter that the relay does not have; serialize in the application"),

	/* ---- Debezium Server ---- */
	BY("sink.type", NULL),
	NOTHING("sink.kafka.wait.message.delivery.timeout.ms"),
	LOST("sink.*", NULL, "it is of another sink than Kafka, or not known; look what it did"),
	NOTHING("debezium.termination.wait"),
	NOTHING("debezium.engine.factory"),
	LOST("debezium.consumer", NULL, "it is a class of Java; nothing stands for it"),
	TO("quarkus.log.level", "INFO", "log.level",
	   "off=error|fatal=error|error=|severe=error|warn=warning|warning=|info=|config=info|debug=|"
	   "fine=debug|finer=debug|trace=debug|finest=debug|all=debug", NULL),
	TO("quarkus.log.console.json", NULL, "log.format", "true=json|false=text", NULL),
	TO("quarkus.log.console.json.enabled", NULL, "log.format", "true=json|false=text", NULL),
	LOST("quarkus.http.port", NULL,
	     "the relay's pages are where http.listen says; probes ask /healthz and /readyz there, not /q/health"),
	LOST("quarkus.http.host", NULL,
	     "the relay's pages are where http.listen says; probes ask /healthz and /readyz there, not /q/health"),
	NOTHING("quarkus.*"),

	/* ---- the producer ---- */
	BY("producer:bootstrap.servers", NULL),
	NOTHING("producer:key.serializer"),
	NOTHING("producer:value.serializer"),
	LOST("producer:acks", "all|-1", "the relay always waits for all in-sync replicas"),
	LOST("producer:enable.idempotence", "true", "the relay's producer is always idempotent"),
	NOTHING("producer:max.in.flight.requests.per.connection"),
	NOTHING("producer:retries"),
	NOTHING("producer:delivery.timeout.ms"),
	NOTHING("producer:transaction*"),
	NOTHING("producer:buffer.memory"),
	NOTHING("producer:max.block.ms"),
	TO("producer:compression.type", "none", "property compression.codec",
	   "none=|gzip=|snappy=|lz4=|zstd=", "librdkafka has no such compression"),
	TO("producer:compression.*.level", NULL, "property compression.level", NULL, NULL),
	TO("producer:linger.ms", NULL, "property linger.ms", NULL, NULL),
	TO("producer:batch.size", NULL, "property batch.size", NULL, NULL),
	TO("producer:max.request.size", NULL, "property message.max.bytes", NULL, NULL),
	TO("producer:request.timeout.ms", NULL, "property socket.timeout.ms", NULL, NULL),
	TO("producer:client.id", NULL, "property client.id", NULL, NULL),
	TO("producer:client.rack", NULL, "property client.rack", NULL, NULL),
	TO("producer:client.dns.lookup", NULL, "property client.dns.lookup",
	   "use_all_dns_ips=|resolve_canonical_bootstrap_servers_only=", "librdkafka has no such value"),
	TO("producer:metadata.max.age.ms", NULL, "property metadata.max.age.ms", NULL, NULL),
	NOTHING("producer:metadata.max.idle.ms"),
	TO("producer:connections.max.idle.ms", NULL, "property connections.max.idle.ms", NULL, NULL),
	TO("producer:reconnect.backoff.ms", NULL, "property reconnect.backoff.ms", NULL, NULL),
	TO("producer:reconnect.backoff.max.ms", NULL, "property reconnect.backoff.max.ms", NULL, NULL),
	TO("producer:retry.backoff.ms", NULL, "property retry.backoff.ms", NULL, NULL),
	TO("producer:retry.backoff.max.ms", NULL, "property retry.backoff.max.ms", NULL, NULL),
	TO("producer:send.buffer.bytes", NULL, "property socket.send.buffer.bytes", NULL, NULL),
	TO("producer:receive.buffer.bytes", NULL, "property socket.receive.buffer.bytes", NULL, NULL),
	TO("producer:socket.connection.setup.timeout.ms", NULL,
	   "property socket.connection.setup.timeout.ms", NULL, NULL),
	NOTHING("producer:socket.connection.setup.timeout.max.ms"),
	LOST("producer:partitioner.class", "|org.apache.kafka.clients.producer.internals.DefaultPartitioner",
	     "the relay puts keys where Kafka's own partitioner does, so that order per key holds; events would "
	     "go to other partitions"),
	LOST("producer:partitioner.ignore.keys", "false",
	     "the relay puts events of a key into one partition, so that their order holds"),
	NOTHING("producer:partitioner.*"),
	LOST("producer:interceptor.classes", "", "it names classes of Java; nothing stands for it"),
	NOTHING("producer:metric*"),
	NOTHING("producer:enable.metrics.push"),
	NOTHING("producer:security.providers"),
	TO("producer:security.protocol", "PLAINTEXT", "property security.protocol",
	   "plaintext=|ssl=|sasl_plaintext=|sasl_ssl=", "Kafka has no such protocol"),
	BY("producer:sasl.mechanism", "GSSAPI"),
	BY("producer:sasl.jaas.config", NULL),
	TO("producer:sasl.kerberos.service.name", NULL, "property sasl.kerberos.service.name", NULL, NULL),
	NOTHING("producer:sasl.kerberos.*"),
	TO("producer:sasl.oauthbearer.token.endpoint.url", NULL,
	   "property sasl.oauthbearer.token.endpoint.url", NULL, NULL),
	LOST("producer:sasl.login.callback.handler.class", "", NO_CALLBACK),
	LOST("producer:sasl.client.callback.handler.class", "", NO_CALLBACK),
	LOST("producer:sasl.login.class", "", NO_CALLBACK),
	NOTHING("producer:sasl.login.*"),
	LOST("producer:sasl.oauthbearer.*", "",
	     "the relay logs in by kafka.oauthbearer_token_command, or by librdkafka's own OIDC "
	     "(docs/kafka-login.md)"),
	TO("producer:ssl.endpoint.identification.algorithm", "https",
	   "property ssl.endpoint.identification.algorithm", "https=|=none|none=", "librdkafka has no such value"),
	BY("producer:ssl.truststore.location", NULL),
	CHOICE("producer:ssl.truststore.type", "JKS"),
	TO("producer:ssl.truststore.certificates", NULL, "property ssl.ca.pem", NULL, NULL),
	NOTHING("producer:ssl.truststore.password"),
	BY("producer:ssl.keystore.location", NULL),
	CHOICE("producer:ssl.keystore.type", "JKS"),
	BY("producer:ssl.keystore.password", NULL),
	TO("producer:ssl.keystore.certificate.chain", NULL, "property ssl.certificate.pem", NULL, NULL),
	LOST("producer:ssl.keystore.key", NULL,
	     "a secret is not copied; write the key into a file, and add ssl.key.location=PATH to "
	     "kafka.properties"),
	LOST("producer:ssl.key.password", NULL,
	     "a secret is not copied; add ssl.key.password=${file:PATH} to kafka.properties, where PATH holds it"),
	LOST("producer:ssl.protocol", "TLSv1.3|TLSv1.2|TLS", NO_TLS_LIKE),
	LOST("producer:ssl.enabled.protocols", "TLSv1.2,TLSv1.3|TLSv1.3,TLSv1.2|TLSv1.2|TLSv1.3", NO_TLS_LIKE),
	LOST("producer:ssl.cipher.suites", "", NO_TLS_LIKE),
	LOST("producer:ssl.provider", "", NO_TLS_LIKE),
	LOST("producer:ssl.engine.factory.class", "", NO_TLS_LIKE),
	LOST("producer:ssl.*", "", NO_TLS_LIKE),
	LOST("producer:*", NULL,
	     "librdkafka has no property like it that this command knows; look for one in its CONFIGURATION.md, and "
	     "set it in kafka.properties"),

	/* ---- of the worker, where a file has both ---- */
	BY("bootstrap.servers", NULL),
	NOTHING("plugin.path"),
	NOTHING("group.id"),
	NOTHING("rest.*"),
	NOTHING("listeners"),
	NOTHING("config.storage.*"),
	NOTHING("status.storage.*"),
};
/* clang-format on */

const size_t debezium_rule_count = sizeof(debezium_rules) / sizeof(debezium_rules[0]);
