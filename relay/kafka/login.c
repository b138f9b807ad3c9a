/* SPDX-License-Identifier: ISC */
/*
 * login.c - why a broker and the relay do not come together: librdkafka's words, a cause, a remedy
 *
 * Pure. librdkafka tells by words alone what went wrong while it connects, encrypts and logs in,
 * and OpenSSL's and the broker's words are among them. The table holds what 2.0.2 and 2.16 say;
 * what is not in it is shown as it came.
 */
#include "base/text.h"
#include "internal.h"

#define PROPERTIES " in kafka.properties"
#define WHERE	   PROPERTIES ", or kafka.sasl_password_file"

static const struct login_fault faults[] = {
    /* The broker's certificate; the words are ours, by kafka_certificate_words. */
    {LOGIN_REFUSED, "certificate has expired", "its certificate has expired",
     "have it renewed on the broker, or set the clock of this machine"},
    {LOGIN_REFUSED, "certificate is not yet valid", "its certificate is not valid yet",
     "set the clock of this machine, or that of the machine that made the certificate"},
    {LOGIN_REFUSED, "certificate is for another host",
     "its certificate is for another host than the one it is called by",
     "name the broker in kafka.bootstrap_servers, and in its advertised.listeners, as its "
     "certificate does"},
    {LOGIN_REFUSED, "certificate is of an unknown CA",
     "its certificate is signed by no CA that this relay trusts",
     "set ssl.ca.location" PROPERTIES " to the certificate of the CA that signed it"},
    {LOGIN_REFUSED, "certificate has been revoked", "its certificate has been revoked",
     "have a new one installed on the broker"},
    {LOGIN_REFUSED, "certificate verify failed", "its certificate does not pass verification",
     "see ssl.ca.location" PROPERTIES ", and the host that the certificate is for"},
    {LOGIN_REFUSED, "Failed to verify broker certificate",
     "its certificate does not pass verification",
     "see ssl.ca.location" PROPERTIES ", and the host that the certificate is for"},

    /* Ours. The numbers are TLS's alerts (RFC 8446, 6.2), and the same in every OpenSSL. */
    {LOGIN_REFUSED, "No matching issuer found",
     "it does not trust the CA that signed this relay's certificate",
     "set ssl.certificate.location and ssl.key.location" PROPERTIES
     " to a certificate of a CA that the broker's ssl.truststore holds"},
    {LOGIN_REFUSED, "SSL alert number 42",
     "it asks for a client certificate, and got none that it accepts",
     "set ssl.certificate.location and ssl.key.location" PROPERTIES
     " to a certificate of a CA that the broker trusts"},
    {LOGIN_REFUSED, "SSL alert number 116", "it asks for a client certificate, and got none",
     "set ssl.certificate.location and ssl.key.location" PROPERTIES
     " to a certificate of a CA that the broker trusts"},
    {LOGIN_REFUSED, "SSL alert number 45", "this relay's certificate has expired",
     "renew the file of ssl.certificate.location"},
    {LOGIN_REFUSED, "SSL alert number 44", "this relay's certificate has been revoked",
     "put a new one into the file of ssl.certificate.location"},
    {LOGIN_REFUSED, "SSL alert number 46", "it does not accept this relay's certificate",
     "use one that is valid now, of a CA that the broker's ssl.truststore holds"},
    {LOGIN_REFUSED, "SSL alert number 48",
     "it does not trust the CA that signed this relay's certificate",
     "use a certificate of a CA that the broker's ssl.truststore holds"},
    {LOGIN_MISMATCH, "SSL alert number 70", "it speaks no version of TLS that this relay speaks",
     "allow TLS 1.2 or 1.3 on the broker"},
    {LOGIN_MISMATCH, "SSL alert number 40", "it and this relay agree on no way to encrypt",
     "see ssl.cipher.suites and ssl.curves.list" PROPERTIES
     ", and ssl.enabled.protocols of the broker"},

    /* Another protocol than the listener's. */
    {LOGIN_MISMATCH, "connecting to a PLAINTEXT broker listener",
     "it does not answer in TLS: the listener is probably one without",
     "name a listener with TLS, or set security.protocol" PROPERTIES},
    {LOGIN_MISMATCH, "wrong version number", "it does not answer in TLS",
     "name a listener with TLS, or set security.protocol" PROPERTIES},
    {LOGIN_MISMATCH, "unexpected eof while reading",
     "it does not answer in TLS: the listener is probably one without",
     "name a listener with TLS, or set security.protocol" PROPERTIES},
    {LOGIN_MISMATCH, "connecting to a SSL listener",
     "it closes connections without an answer: it probably expects TLS",
     "set security.protocol" PROPERTIES " to SSL or SASL_SSL"},
    {LOGIN_MISMATCH, "Request not valid in current SASL state", "its listener has no login by SASL",
     "name a listener with SASL, or set security.protocol" PROPERTIES " to SSL or PLAINTEXT"},
    {LOGIN_MISMATCH, "broker might require SASL authentication",
     "it closes connections: its listener probably expects a login by SASL",
     "set security.protocol" PROPERTIES " to SASL_SSL, or to SASL_PLAINTEXT"},

    /* SASL. The words behind "SASL authentication error" are the broker's. */
    {LOGIN_REFUSED, "Unsupported SASL mechanism", "it does not offer this SASL mechanism: ",
     "set sasl.mechanism" PROPERTIES " to one that the listener has enabled"},
    {LOGIN_REFUSED, "invalid credentials with SASL mechanism SCRAM", "wrong user or password: ",
     "see sasl.username and the password" WHERE
     ", and that the user has credentials for this mechanism"},
    {LOGIN_REFUSED, "Invalid username or password",
     "wrong user or password: ", "see sasl.username and the password" WHERE},
    {LOGIN_REFUSED, "\"status\":\"invalid_token\"", "it refuses the token",
     "see that issuer, audience, scope and expiry are what the listener expects (the broker's log "
     "says which is not), and that the clocks agree"},
    {LOGIN_REFUSED, "SASL authentication error",
     "it refuses the login: ", "see what starts with sasl." PROPERTIES},
    {LOGIN_OTHER, "no token is given", "there is no token to log in with",
     "set sasl.oauthbearer.method=oidc and its client id, secret and token endpoint" PROPERTIES
     ", or enable.sasl.oauthbearer.unsecure.jwt=true for a test"},
    {LOGIN_OTHER, "token: kafka.oauthbearer_token_command: ", "there is no token to log in with: ",
     NULL}, /* the words say what to do */
    {LOGIN_OTHER, "Failed to acquire SASL OAUTHBEARER token", "there is no token to log in with: ",
     "see what starts with sasl.oauthbearer." PROPERTIES
     ", and whether the issuer of tokens can be reached"},

    /* Nobody is there. */
    {LOGIN_UNREACHABLE, ": Connect to ", NULL, NULL},
    {LOGIN_UNREACHABLE, "Failed to resolve", "its name cannot be resolved",
     "see kafka.bootstrap_servers, the brokers' advertised.listeners, and DNS"},
    {LOGIN_UNREACHABLE, "Connection setup timed out", "it does not answer",
     "see that a broker runs there, and the firewalls on the way"},
};

static const struct login_fault scram_of_old = {
    LOGIN_REFUSED, NULL,
    "this relay's librdkafka cannot log in to Kafka 4 by SCRAM, whatever the password "
    "(librdkafka#4895)",
    "install librdkafka 2.6.1 or later (Debian 13 has it), or log in by a client certificate or by "
    "PLAIN over TLS"};

static const struct login_fault unknown = {LOGIN_OTHER, NULL, NULL, NULL};

static const struct login_fault *find(const char *words)
{
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		if (strstr(words, faults[i].words) != NULL)
			return &faults[i];
	return &unknown;
}

bool kafka_is_closed(const char *reason)
{
	return strstr(reason, "security.protocol") == NULL &&
	       strstr(reason, "SSL handshake") == NULL &&
	       (strstr(reason, "Send failed") != NULL || strstr(reason, "Receive failed") != NULL ||
		strstr(reason, "Disconnected") != NULL);
}

const char *kafka_certificate_words(int x509_error)
{
	/* X509_V_ERR_... of openssl/x509_vfy.h */
	switch (x509_error) {
	case 9:
		return "the certificate is not yet valid";
	case 10:
		return "the certificate has expired";
	case 23:
		return "the certificate has been revoked";
	case 62: /* HOSTNAME_MISMATCH */
	case 64: /* IP_ADDRESS_MISMATCH */
		return "the certificate is for another host";
	case 2:	 /* UNABLE_TO_GET_ISSUER_CERT */
	case 18: /* DEPTH_ZERO_SELF_SIGNED_CERT */
	case 19: /* SELF_SIGNED_CERT_IN_CHAIN */
	case 20: /* UNABLE_TO_GET_ISSUER_CERT_LOCALLY */
	case 21: /* UNABLE_TO_VERIFY_LEAF_SIGNATURE */
		return "the certificate is of an unknown CA";
	default:
		return NULL;
	}
}

bool kafka_login_broker(const char *words, char broker[LOGIN_BROKER])
{
	const char *scheme = strstr(words, "://"), *end;
	const char *start = scheme != NULL ? scheme + 3 : words;

	end = strpbrk(start, "/ ");
	if (end == NULL || *end != '/' || end == start)
		return false;
	text_print(broker, LOGIN_BROKER, "%.*s", (int)(end - start), start);
	return true;
}

/* Such a line begins with "[thrd:NAME]: ". */
static const char *without_thread(const char *text)
{
	const char *end = strncmp(text, "[thrd:", 6) == 0 ? strstr(text, "]: ") : NULL;

	return end != NULL ? end + 3 : text;
}

void kafka_login_note(struct login_notes *notes, const char *facility, const char *text)
{
	/* Kafka 4 no longer knows the old versions of Fetch (KIP-896). */
	if (strcmp(facility, "APIVERSION") == 0 && strstr(text, "Feature MsgVer1: Fetch") != NULL)
		notes->is_kafka_4 = strstr(text, "NOT supported") != NULL;
	if (strcmp(facility, "SSLCERTVRFY") != 0 &&
	    strstr(text, "No matching issuer found") == NULL)
		return;
	notes->tls = find(text);
	if (!kafka_login_broker(without_thread(text), notes->tls_broker))
		notes->tls_broker[0] = '\0';
}

static bool is_scram_of_old(const struct login_notes *notes, const char *words, int version)
{
	return notes->is_kafka_4 && version < KAFKA_SCRAM_VERSION &&
	       strstr(words, "invalid credentials with SASL mechanism SCRAM") != NULL;
}

struct login_fault kafka_login_fault(const struct login_notes *notes, const char *words,
				     int version)
{
	const struct login_fault *fault = find(words);
	char broker[LOGIN_BROKER];

	if (is_scram_of_old(notes, words, version))
		return scram_of_old;
	/* A broker that ends, too, says no goodbye in TLS. */
	if (kafka_is_closed(words) && strstr(words, "SSL alert number") == NULL)
		return unknown;
	/* librdkafka says no more of what OpenSSL finds than that. */
	if ((strstr(words, "certificate verify failed") != NULL ||
	     strstr(words, "SSL alert number 42") != NULL) &&
	    notes->tls != NULL && notes->tls != &unknown &&
	    (notes->tls_broker[0] == '\0' ||
	     (kafka_login_broker(words, broker) && strcmp(broker, notes->tls_broker) == 0)))
		return *notes->tls;
	return *fault;
}

/* Without the address in front of them and the times behind them. */
static void print_words(char *text, size_t size, const char *words)
{
	const char *start = strstr(words, ": "), *end = strstr(words, " (after ");
	char broker[LOGIN_BROKER];

	start = start != NULL && kafka_login_broker(words, broker) ? start + 2 : words;
	text_print(text, size, "%.*s", (int)(end > start ? end - start : (ptrdiff_t)strlen(start)),
		   start);
}

static bool wants_words(const char *what)
{
	size_t len = strlen(what);

	return len > 2 && strcmp(what + len - 2, ": ") == 0;
}

void kafka_login_print(char *text, size_t size, const struct login_fault *fault, const char *words)
{
	char broker[LOGIN_BROKER], said[400];
	const char *what = fault->what != NULL ? fault->what : "";
	bool has_broker = kafka_login_broker(words, broker);

	print_words(said, sizeof(said), words);
	text_print(text, size, "%s%s%s%s%s", has_broker ? "broker " : "", has_broker ? broker : "",
		   has_broker ? ": " : "", what, what[0] == '\0' || wants_words(what) ? said : "");
}

/* log.connection.close is false, since brokers close idle connections too: librdkafka gives no
 * reason then. Which protocol the relay speaks tells what the broker may expect. */
struct login_fault kafka_login_closed(const char *protocol)
{
	struct login_fault fault = {LOGIN_MISMATCH, NULL,
				    "it accepts connections and closes them without an answer",
				    "see security.protocol" PROPERTIES};

	if (strcmp(protocol, "plaintext") == 0)
		fault.remedy =
		    "it probably expects TLS or a login: set security.protocol" PROPERTIES
		    " to SSL, SASL_SSL or SASL_PLAINTEXT, as the listener has it";
	else if (strcmp(protocol, "sasl_plaintext") == 0)
		fault.remedy =
		    "it probably expects TLS: set security.protocol" PROPERTIES " to SASL_SSL";
	else if (strcmp(protocol, "ssl") == 0)
		fault.remedy =
		    "it probably expects a login: set security.protocol" PROPERTIES " to SASL_SSL";
	return fault;
}

/* What librdkafka and OpenSSL say of files and properties when a client is made. */
static const struct {
	const char *words, *what;
} set_up_faults[] = {
    {"ssl.ca.location failed", "the file of ssl.ca.location holds no certificate in PEM"},
    {"key values mismatch",
     "the key of ssl.key.location does not belong to the certificate of ssl.certificate.location"},
    {"ssl.certificate.location failed",
     "the file of ssl.certificate.location holds no certificate in PEM"},
    {"bad decrypt", "ssl.key.password does not open the key of ssl.key.location"},
    {"ssl.key.location failed",
     "the file of ssl.key.location holds no private key in PEM, or one that needs another "
     "ssl.key.password"},
    {"sasl.username and sasl.password must be set",
     "sasl.username and a password must be set for this sasl.mechanism"},
    {"Unsupported SASL mechanism",
     "sasl.mechanism must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or GSSAPI"},
    {"SASL mechanism GSSAPI", "sasl.mechanism is GSSAPI, as it is unless it is set, and this "
			      "librdkafka is built without it"},
    {"sasl.kerberos.keytab",
     "sasl.mechanism is GSSAPI, as it is unless it is set, and has no sasl.kerberos.keytab"},
};

void kafka_login_set_up(const char *words, struct error *err)
{
	for (size_t i = 0; i < sizeof(set_up_faults) / sizeof(set_up_faults[0]); i++)
		if (strstr(words, set_up_faults[i].words) != NULL) {
			error_set(err, "kafka.properties: %s (librdkafka: %s)",
				  set_up_faults[i].what, words);
			return;
		}
	error_set(err, "cannot make a Kafka client: %s", words);
}
