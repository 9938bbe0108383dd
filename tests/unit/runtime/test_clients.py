import pytest

from jobs.runtime.clients import client_config, spark_options, spark_sink_options
from jobs.runtime.knobs import Kafka
from jobs.runtime.settings import Settings


def with_kafka(**knobs):
    return Settings(kafka=Kafka(bootstrap_servers="k:9092", **knobs))


def test_without_security_only_the_address_is_said():
    assert client_config(with_kafka()) == {"bootstrap.servers": "k:9092", "security.protocol": "PLAINTEXT"}
    assert spark_options(with_kafka()) == {
        "kafka.bootstrap.servers": "k:9092",
        "kafka.security.protocol": "PLAINTEXT",
    }


@pytest.mark.parametrize(
    ("mechanism", "module"), [("PLAIN", "PlainLoginModule"), ("SCRAM-SHA-512", "ScramLoginModule")]
)
def test_both_clients_get_the_same_credentials_and_authority(mechanism, module):
    settings = with_kafka(
        security_protocol="SASL_SSL",
        sasl_mechanism=mechanism,
        sasl_username="zoë",
        sasl_password='p"; w\\',
        ssl_ca_file="ca.pem",
    )
    config, options = client_config(settings), spark_options(settings)
    assert config["sasl.password"] == 'p"; w\\'
    assert config["sasl.mechanism"] == options["kafka.sasl.mechanism"] == mechanism
    assert config["ssl.ca.location"] == options["kafka.ssl.truststore.location"] == "ca.pem"
    assert options["kafka.ssl.truststore.type"] == "PEM"
    jaas = options["kafka.sasl.jaas.config"]
    assert f".{module} required " in jaas
    assert jaas.endswith(r'username="zoë" password="p\"; w\\";')


def test_a_sink_has_room_for_a_partial_at_its_event_bound():
    assert int(spark_sink_options(with_kafka())["kafka.max.request.size"]) > 100_000 * 48
