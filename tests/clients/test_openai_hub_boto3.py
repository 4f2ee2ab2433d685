"""The clients that people have, against the engine alone and through the sidecar: openai, huggingface_hub, boto3."""

import math
import threading
import unittest
import urllib.request

import boto3
import botocore.config
import openai
from huggingface_hub import InferenceClient

import harness


def setUpModule():
    harness.require_model()
    global engine, sidecar
    engine = harness.Engine(SSE_KEEP_ALIVE_SECONDS="1")
    sidecar = harness.Sidecar(engine, limit=4)


def tearDownModule():
    sidecar.stop()
    engine.stop()


class Clients:
    """Each test runs twice: straight to the engine, and through the sidecar."""

    url: str

    def openai(self):
        return openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0)

    def test_openai_chat_completion(self):
        answer = self.openai().chat.completions.create(
            model="smollm2", messages=[{"role": "user", "content": "What is 2+2?"}], max_tokens=24, temperature=0)
        self.assertTrue(answer.choices[0].message.content)
        self.assertGreater(answer.usage.prompt_tokens, 10)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_openai_chat_stream_equals_the_whole_answer(self):
        messages = [{"role": "user", "content": "Count to five."}]
        request = dict(model="smollm2", messages=messages, max_tokens=32, temperature=0)
        whole = self.openai().chat.completions.create(**request)
        pieces, usage = [], None
        chunks = self.openai().chat.completions.create(**request, stream=True, stream_options={"include_usage": True})
        for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                pieces.append(chunk.choices[0].delta.content)
            usage = chunk.usage or usage
        self.assertEqual("".join(pieces), whole.choices[0].message.content)
        self.assertEqual(usage.completion_tokens, whole.usage.completion_tokens)

    def test_openai_completion_with_ignore_eos_gives_every_token(self):
        answer = self.openai().completions.create(
            model="smollm2", prompt="Once upon a time", max_tokens=40, temperature=0, extra_body={"ignore_eos": True})
        self.assertEqual(answer.usage.completion_tokens, 40)
        self.assertEqual(answer.choices[0].finish_reason, "length")

    def test_openai_streams_have_a_chunk_for_each_token_also_for_parts_of_characters(self):
        request = dict(model="smollm2", prompt="世界 🙂 世界 🙂 世界 🙂 世界 🙂", max_tokens=24, temperature=0,
                       extra_body={"ignore_eos": True})
        whole = self.openai().completions.create(**request).choices[0].text
        chunks = [c.choices[0] for c in self.openai().completions.create(**request, stream=True)]
        self.assertEqual("".join(c.text for c in chunks), whole)
        self.assertEqual(sum(c.finish_reason is None for c in chunks), 24, [c.text for c in chunks])

    def test_openai_stop_sequence_is_not_in_the_text(self):
        answer = self.openai().completions.create(
            model="smollm2", prompt="A, B, C, D,", max_tokens=30, temperature=0, stop=["G"])
        self.assertNotIn("G", answer.choices[0].text)

    def test_openai_logprobs_of_chat_and_completions_are_those_of_the_text(self):
        chat = self.openai().chat.completions.create(
            model="smollm2", messages=[{"role": "user", "content": "What is 2+2?"}], max_tokens=8, temperature=0,
            logprobs=True, top_logprobs=3)
        content = chat.choices[0].logprobs.content
        self.assertEqual(bytes(b for token in content for b in token.bytes).decode(), chat.choices[0].message.content)
        for token in content:
            self.assertEqual(len(token.top_logprobs), 3)
            self.assertEqual(token.logprob, token.top_logprobs[0].logprob)
            self.assertLessEqual(sum(math.exp(top.logprob) for top in token.top_logprobs), 1 + 1e-5)
        whole = self.openai().completions.create(
            model="smollm2", prompt="The capital of France is", max_tokens=6, temperature=0, logprobs=2)
        self.assertEqual("".join(whole.choices[0].logprobs.tokens), whole.choices[0].text)
        self.assertEqual(whole.choices[0].logprobs.text_offset[0], 0)

    def test_openai_lists_the_model(self):
        self.assertEqual([m.id for m in self.openai().models.list()], ["smollm2"])

    def test_openai_refuses_a_prompt_that_is_too_long(self):
        with self.assertRaises(openai.APIStatusError) as caught:
            self.openai().completions.create(model="smollm2", prompt="word " * 20000, max_tokens=10)
        self.assertEqual(caught.exception.status_code, 422)

    def test_huggingface_hub_text_generation(self):
        client = InferenceClient(self.url)
        text = client.text_generation("The capital of France is", max_new_tokens=8)
        self.assertIn("Paris", text)
        details = client.text_generation("The capital of France is", max_new_tokens=8, details=True)
        self.assertEqual(details.generated_text, text)
        self.assertEqual(details.details.generated_tokens, len(details.details.tokens))
        details = client.text_generation("The capital of France is", max_new_tokens=3, details=True,
                                         decoder_input_details=True, top_n_tokens=2).details
        self.assertEqual("".join(token.text for token in details.prefill), "The capital of France is")
        self.assertTrue(all(token.logprob < 0 for token in details.prefill[1:]))
        self.assertEqual([len(tops) for tops in details.top_tokens], [2, 2, 2])

    def test_huggingface_hub_text_generation_stream(self):
        client = InferenceClient(self.url)
        whole = client.text_generation("The capital of France is", max_new_tokens=12)
        pieces = list(client.text_generation("The capital of France is", max_new_tokens=12, stream=True))
        self.assertEqual("".join(pieces), whole)

    def test_a_prefill_of_seconds_sends_comments_and_no_client_minds(self):
        prompt = harness.long_prompt()
        chunks = self.openai().completions.create(
            model="smollm2", prompt=prompt, max_tokens=4, temperature=0, stream=True, extra_body={"ignore_eos": True})
        openai_text = "".join(chunk.choices[0].text for chunk in chunks)
        hub = InferenceClient(self.url)  # its stream ends with it
        hub_text = "".join(hub.text_generation(prompt, max_new_tokens=4, stream=True))
        body = {"inputs": prompt, "parameters": {"max_new_tokens": 4}}
        with harness.post(self.url, "/generate_stream", body, timeout=120) as answer:
            raw = answer.read().decode()
        self.assertTrue(raw.startswith(":\n\n"), raw[:200])
        self.assertEqual(openai_text, hub_text)

    def test_huggingface_hub_chat(self):
        client = InferenceClient(base_url=self.url)
        answer = client.chat_completion([{"role": "user", "content": "Say hello."}], max_tokens=16)
        self.assertTrue(answer.choices[0].message.content)

    def test_boto3_sagemaker_invoke_endpoint(self):
        """SageMaker's route /invocations. boto3 would call /endpoints/NAME/invocations: its request is sent to ours."""
        client = boto3.client(
            "sagemaker-runtime", endpoint_url=self.url, region_name="eu-west-1", aws_access_key_id="x",
            aws_secret_access_key="y", config=botocore.config.Config(retries={"total_max_attempts": 1}))

        def to_container_route(request, **_):
            request.url = self.url + "/invocations"

        client.meta.events.register("before-sign.sagemaker-runtime.InvokeEndpoint", to_container_route)
        answer = client.invoke_endpoint(
            EndpointName="smollm2", ContentType="application/json",
            Body=b'{"inputs": "The capital of France is", "parameters": {"max_new_tokens": 8}}')
        self.assertIn("Paris", answer["Body"].read().decode())


class EngineAlone(Clients, unittest.TestCase):
    def setUp(self):
        self.url = engine.url


class ThroughTheSidecar(Clients, unittest.TestCase):
    def setUp(self):
        self.url = sidecar.url

    def test_over_the_limit_is_429_with_retry_after_and_nothing_is_lost(self):
        outcomes = []

        def one():
            try:
                answer = self.openai().completions.create(
                    model="smollm2", prompt="Tell me a story.", max_tokens=64, temperature=0,
                    extra_body={"ignore_eos": True})
                outcomes.append(answer.usage.completion_tokens)
            except openai.RateLimitError as error:
                outcomes.append(int(error.response.headers["retry-after"]) * 0 - 1)

        threads = [threading.Thread(target=one) for _ in range(12)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(len(outcomes), 12)
        self.assertEqual(set(outcomes), {64, -1}, outcomes)
        self.assertGreaterEqual(outcomes.count(64), 4)

    def test_metrics_count_what_was_admitted_and_rejected(self):
        text = urllib.request.urlopen(sidecar.admin + "/metrics").read().decode()
        self.assertIn("patella_admission_total", text)
        self.assertIn("patella_concurrency_limit", text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
