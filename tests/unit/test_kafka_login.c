/* SPDX-License-Identifier: ISC */
/*
 * test_kafka_login.c - what librdkafka says of a connection, 2.0.2 and 2.16, and what it means
 */
#include "kafka/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { OLD = 0x020002ff, CURRENT = 0x021000ff };

static const struct {
	const char *words;
	enum login_kind kind;
	const char *what;
} told[] = {
    /* 2.0.2 */
    {"ssl://127.0.0.1:24343/bootstrap: SSL handshake failed: error:0A000086:SSL "
     "routines::certificate verify failed: broker certificate could not be verified, verify that "
     "ssl.ca.location is correctly configured or root CA certificates are installed (install "
     "ca-certificates package) (after 8ms in state SSL_HANDSHAKE)",
     LOGIN_REFUSED, "broker 127.0.0.1:24343: its certificate does not pass verification"},
    {"sasl_ssl://kafka.example:9093/1: error:0A000086:SSL routines::certificate verify failed "
     "(after 20ms in state SSL_HANDSHAKE)",
     LOGIN_REFUSED, "broker kafka.example:9093: its certificate does not pass verification"},
    {"ssl://127.0.0.1:30205/bootstrap: Receive failed: error:0A000412:SSL routines::sslv3 alert "
     "bad certificate: SSL alert number 42 (after 0ms in state APIVERSION_QUERY)",
     LOGIN_REFUSED,
     "broker 127.0.0.1:30205: it asks for a client certificate, and got none that it accepts"},
    {"ssl://127.0.0.1:30205/bootstrap: Receive failed: error:0A000416:SSL routines::sslv3 alert "
     "certificate unknown: SSL alert number 46 (after 0ms in state APIVERSION_QUERY)",
     LOGIN_REFUSED, "broker 127.0.0.1:30205: it does not accept this relay's certificate"},
    {"ssl://127.0.0.1:21347/bootstrap: SSL handshake failed: error:0A000126:SSL "
     "routines::unexpected eof while reading (after 1ms in state SSL_HANDSHAKE, 1 identical "
     "error(s) suppressed)",
     LOGIN_MISMATCH,
     "broker 127.0.0.1:21347: it does not answer in TLS: the listener is probably one without"},
    /* 2.16 */
    {"ssl://127.0.0.1:30205/bootstrap: Receive failed: error:0A000412:SSL routines::ssl/tls alert "
     "bad certificate: SSL alert number 42 (after 4ms in state APIVERSION_QUERY)",
     LOGIN_REFUSED,
     "broker 127.0.0.1:30205: it asks for a client certificate, and got none that it accepts"},
    {"ssl://127.0.0.1:21347/bootstrap: SSL handshake failed: Disconnected: SSL connection closed "
     "by peer: connecting to a PLAINTEXT broker listener? (after 0ms in state SSL_HANDSHAKE)",
     LOGIN_MISMATCH,
     "broker 127.0.0.1:21347: it does not answer in TLS: the listener is probably one without"},
    {"Failed to acquire SASL OAUTHBEARER token: {\"error\": \"invalid_client\"}", LOGIN_OTHER,
     "there is no token to log in with: Failed to acquire SASL OAUTHBEARER token: {\"error\": "
     "\"invalid_client\"}"},
    /* both */
    {"sasl_ssl://[::1]:23472/bootstrap: SASL authentication error: Authentication failed: Invalid "
     "username or password (after 329ms in state AUTH_REQ)",
     LOGIN_REFUSED,
     "broker [::1]:23472: wrong user or password: SASL authentication error: Authentication "
     "failed: Invalid username or password"},
    {"sasl_ssl://127.0.0.1:23472/bootstrap: SASL authentication error: Authentication failed "
     "during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512 (after "
     "337ms in state AUTH_REQ)",
     LOGIN_REFUSED,
     "broker 127.0.0.1:23472: wrong user or password: SASL authentication error: Authentication "
     "failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512"},
    {"sasl_plaintext://127.0.0.1:10530/bootstrap: SASL PLAIN mechanism handshake failed: Broker: "
     "Unsupported SASL mechanism: broker's supported mechanisms: SCRAM-SHA-512,OAUTHBEARER (after "
     "302ms in state AUTH_HANDSHAKE)",
     LOGIN_REFUSED,
     "broker 127.0.0.1:10530: it does not offer this SASL mechanism: SASL PLAIN mechanism "
     "handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: "
     "SCRAM-SHA-512,OAUTHBEARER"},
    {"sasl_plaintext://127.0.0.1:21347/bootstrap: SASL PLAIN mechanism handshake failed: Broker: "
     "Request not valid in current SASL state: broker's supported mechanisms:  (after 0ms in "
     "state AUTH_HANDSHAKE)",
     LOGIN_MISMATCH, "broker 127.0.0.1:21347: its listener has no login by SASL"},
    {"sasl_ssl://127.0.0.1:23472/bootstrap: SASL authentication error: "
     "{\"status\":\"invalid_token\"} (after 304ms in state AUTH_REQ)",
     LOGIN_REFUSED, "broker 127.0.0.1:23472: it refuses the token"},
    {"sasl_ssl://127.0.0.1:23472/bootstrap: SASL authentication error: Tenant is suspended (after "
     "304ms in state AUTH_REQ)",
     LOGIN_REFUSED,
     "broker 127.0.0.1:23472: it refuses the login: SASL authentication error: Tenant is "
     "suspended"},
    {"ssl://127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after "
     "0ms in state CONNECT)",
     LOGIN_UNREACHABLE,
     "broker 127.0.0.1:1: Connect to ipv4#127.0.0.1:1 failed: Connection refused"},
    {"ssl://no.such.host.example:9092/bootstrap: Failed to resolve 'no.such.host.example:9092': "
     "Name or service not known (after 0ms in state CONNECT)",
     LOGIN_UNREACHABLE, "broker no.such.host.example:9092: its name cannot be resolved"},
    /* A broker that ends. */
    {"ssl://127.0.0.1:37447/1: Receive failed: error:0A000126:SSL routines::unexpected eof while "
     "reading (after 134ms in state UP)",
     LOGIN_OTHER,
     "broker 127.0.0.1:37447: Receive failed: error:0A000126:SSL routines::unexpected eof while "
     "reading"},
    /* not known: as it came */
    {"127.0.0.1:9092/3: Something new happened (after 7ms in state UP)", LOGIN_OTHER,
     "broker 127.0.0.1:9092: Something new happened"},
    {"Something without a broker", LOGIN_OTHER, "Something without a broker"},
    {"", LOGIN_OTHER, ""},
};

static void the_words_of_either_library_are_known(void **state)
{
	const struct login_notes none = {0};
	char text[500];

	(void)state;
	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
		struct login_fault fault = kafka_login_fault(&none, told[i].words, CURRENT);

		kafka_login_print(text, sizeof(text), &fault, told[i].words);
		assert_string_equal(text, told[i].what);
		assert_int_equal(fault.kind, told[i].kind);
		assert_true(fault.remedy != NULL || fault.what == NULL);
	}
}

static const char unverified[] = "ssl://a:1/bootstrap: SSL handshake failed: error:0A000086:SSL "
				 "routines::certificate verify failed: broker certificate could "
				 "not be verified (after 8ms in state SSL_HANDSHAKE)";

static void note_certificate(struct login_notes *notes, const char *broker, int x509_error)
{
	char line[300];

	snprintf(line, sizeof(line),
		 "[thrd:ssl://%s/bootstrap]: ssl://%s/bootstrap: Certificate (subject=/CN=a, "
		 "issuer=/CN=b) verification callback failed: %s",
		 broker, broker, kafka_certificate_words(x509_error));
	kafka_login_note(notes, "SSLCERTVRFY", line);
}

static void openssls_verdict_is_told_by_the_log(void **state)
{
	static const struct {
		int x509_error;
		const char *what;
	} verdicts[] = {
	    {9, "not valid yet"},
	    {10, "has expired"},
	    {18, "no CA that this relay trusts"},
	    {19, "no CA that this relay trusts"},
	    {20, "no CA that this relay trusts"},
	    {21, "no CA that this relay trusts"},
	    {23, "revoked"},
	    {62, "for another host"},
	    {64, "for another host"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
		struct login_notes notes = {0};
		struct login_fault fault;

		note_certificate(&notes, "a:1", verdicts[i].x509_error);
		fault = kafka_login_fault(&notes, unverified, OLD);
		assert_int_equal(fault.kind, LOGIN_REFUSED);
		assert_non_null(strstr(fault.what, verdicts[i].what));
	}
	assert_null(kafka_certificate_words(0));
	assert_null(kafka_certificate_words(1));
}

static void another_brokers_certificate_explains_nothing(void **state)
{
	struct login_notes notes = {0};
	struct login_fault fault;

	(void)state;
	note_certificate(&notes, "b:1", 10);
	fault = kafka_login_fault(&notes, unverified, OLD);
	assert_non_null(strstr(fault.what, "does not pass verification"));
}

static void a_client_certificate_that_is_not_sent_is_told_by_the_log(void **state)
{
	struct login_notes notes = {0};
	struct login_fault fault;

	(void)state;
	kafka_login_note(&notes, "SSL",
			 "[thrd:ssl://a:1/bootstrap]: No matching issuer found in server trusted "
			 "certificate authorities, not sending any client certificates");
	fault = kafka_login_fault(&notes,
				  "ssl://a:1/bootstrap: Receive failed: error:0A000412:SSL "
				  "routines::ssl/tls alert bad certificate: SSL alert number 42",
				  CURRENT);
	assert_non_null(strstr(fault.what, "does not trust the CA"));
}

static const char scram[] = "sasl_ssl://a:1/bootstrap: SASL authentication error: Authentication "
			    "failed during authentication due to invalid credentials with SASL "
			    "mechanism SCRAM-SHA-256 (after 321ms in state AUTH_REQ)";

static bool blames_library(const struct login_notes *notes, int version)
{
	return strstr(kafka_login_fault(notes, scram, version).what, "librdkafka#4895") != NULL;
}

static void scram_of_an_old_library_is_told_from_a_wrong_password(void **state)
{
	struct login_notes notes = {0};

	(void)state;
	assert_false(blames_library(&notes, OLD));
	kafka_login_note(&notes, "APIVERSION",
			 "[thrd:a:1/bootstrap]: a:1/bootstrap:  Feature MsgVer1: Fetch (2..2) NOT "
			 "supported by broker");
	assert_true(blames_library(&notes, OLD));
	assert_true(blames_library(&notes, 0x020600ff));
	assert_false(blames_library(&notes, 0x020601ff));
	assert_false(blames_library(&notes, CURRENT));
	kafka_login_note(&notes, "APIVERSION",
			 "[thrd:a:1/bootstrap]: a:1/bootstrap:  Feature MsgVer1: Fetch (2..2) "
			 "supported by broker");
	assert_false(blames_library(&notes, OLD));
}

static void silence_is_explained_by_the_own_protocol(void **state)
{
	(void)state;
	assert_non_null(strstr(kafka_login_closed("plaintext").remedy, "expects TLS or a login"));
	assert_non_null(strstr(kafka_login_closed("sasl_plaintext").remedy, "expects TLS"));
	assert_non_null(strstr(kafka_login_closed("ssl").remedy, "expects a login"));
	assert_non_null(strstr(kafka_login_closed("sasl_ssl").remedy, "security.protocol"));
}

static void a_client_that_cannot_be_made_says_which_property(void **state)
{
	static const struct {
		const char *words, *what;
	} made[] = {
	    {"ssl.ca.location failed: error:05800088:x509 certificate routines::no certificate or "
	     "crl found",
	     "ssl.ca.location holds no certificate"},
	    {"ssl.key.location failed: error:05800074:x509 certificate routines::key values "
	     "mismatch",
	     "does not belong to the certificate"},
	    {"ssl.key.location failed: ../ssl/ssl_rsa.c:368:SSL_CTX_use_PrivateKey_file "
	     "error:0A080009:SSL routines::PEM lib",
	     "no private key in PEM"},
	    {"sasl.username and sasl.password must be set", "a password must be set"},
	    {"Unsupported SASL mechanism: FOO", "sasl.mechanism must be PLAIN"},
	    {"something else", "cannot make a Kafka client: something else"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
		struct error err;

		kafka_login_set_up(made[i].words, &err);
		assert_non_null(strstr(err.text, made[i].what));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_words_of_either_library_are_known),
	    cmocka_unit_test(openssls_verdict_is_told_by_the_log),
	    cmocka_unit_test(another_brokers_certificate_explains_nothing),
	    cmocka_unit_test(a_client_certificate_that_is_not_sent_is_told_by_the_log),
	    cmocka_unit_test(scram_of_an_old_library_is_told_from_a_wrong_password),
	    cmocka_unit_test(silence_is_explained_by_the_own_protocol),
	    cmocka_unit_test(a_client_that_cannot_be_made_says_which_property),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
