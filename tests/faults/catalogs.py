"""All faults there are, by importing what registers them; and the choice that CI plays."""
from faults import faults_failpoints, faults_kafka, faults_kafkalink, faults_postgres, faults_relay, faults_table  # noqa: F401  (they register)

CI = ("F01", "F02", "F03", "F05", "F06", "F11", "F12", "F13", "F14", "F15", "F16", "F17", "F18", "F41", "F42")
