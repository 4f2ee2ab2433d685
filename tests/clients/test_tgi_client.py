"""TGI's own Python client against the engine alone and through the sidecar."""

import unittest

from text_generation import Client
from text_generation.errors import OverloadedError, ValidationError

import harness


def setUpModule():
    harness.require_model()
    global engine, sidecar
    engine = harness.Engine(MAX_CONCURRENT_REQUESTS="8", SSE_KEEP_ALIVE_SECONDS="1")
    sidecar = harness.Sidecar(engine, limit=2)


def tearDownModule():
    sidecar.stop()
    engine.stop()


class TgiClient:
    url: str

    def test_generate_has_details(self):
        answer = Client(self.url).generate("The capital of France is", max_new_tokens=8)
        self.assertIn("Paris", answer.generated_text)
        self.assertEqual(answer.details.generated_tokens, len(answer.details.tokens))
        self.assertTrue(all(t.logprob is None or t.logprob <= 0 for t in answer.details.tokens))

    def test_prompt_tokens_and_the_likeliest_tokens(self):
        details = Client(self.url).generate(
            "The capital of France is", max_new_tokens=2, decoder_input_details=True, top_n_tokens=3).details
        self.assertEqual("".join(token.text for token in details.prefill), "The capital of France is")
        self.assertEqual([len(tops) for tops in details.top_tokens], [3, 3])

    def test_stream_gives_the_same_text(self):
        whole = Client(self.url).generate("The capital of France is", max_new_tokens=16)
        tokens = list(Client(self.url).generate_stream("The capital of France is", max_new_tokens=16))
        self.assertEqual("".join(t.token.text for t in tokens if not t.token.special), whole.generated_text)
        self.assertEqual(tokens[-1].generated_text, whole.generated_text)

    def test_comments_during_a_long_prefill_are_skipped(self):
        tokens = list(Client(self.url, timeout=120).generate_stream(harness.long_prompt(), max_new_tokens=4))
        self.assertEqual(tokens[-1].details.generated_tokens, len(tokens))

    def test_seeded_sampling_repeats(self):
        def sample(seed):
            return Client(self.url).generate(
                "Once upon a time", max_new_tokens=12, do_sample=True, temperature=1.5, seed=seed).generated_text

        self.assertEqual(sample(7), sample(7))
        self.assertGreater(len({sample(seed) for seed in range(5)}), 1)

    def test_prompt_too_long_is_a_validation_error(self):
        with self.assertRaises(ValidationError):
            Client(self.url).generate("word " * 20000, max_new_tokens=8)


class EngineAlone(TgiClient, unittest.TestCase):
    def setUp(self):
        self.url = engine.url


class ThroughTheSidecar(TgiClient, unittest.TestCase):
    def setUp(self):
        self.url = sidecar.url

    def test_a_stream_over_the_limit_is_refused_before_a_byte_of_it(self):
        held = [Client(self.url).generate_stream("1, 2, 3, 4, 5, 6,", max_new_tokens=1500) for _ in range(2)]
        for stream in held:
            next(stream)
        with self.assertRaises(OverloadedError):
            next(Client(self.url).generate_stream("One too many.", max_new_tokens=4))
        for stream in held:
            stream.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
