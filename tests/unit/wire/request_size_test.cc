#include "lib/wire/request_size.h"

#include <gtest/gtest.h>

#include <string>

namespace patella::wire {
namespace {

struct Case {
  const char* body;
  int sequences;
  int64_t output_tokens;  // -1: not said
};

TEST(RequestSizeTest, SequencesArePromptsTimesAnswers) {
  const Case cases[] = {
      {R"({"prompt":"one, [2], \"3\"","max_tokens":7})", 1, 7},
      {R"({"prompt":["a","b","c"]})", 3, -1},
      {R"({ "prompt" : [ "a" , "b]," ] , "n" : 2 })", 4, -1},
      {R"({"prompt":[1,2,3,4]})", 1, -1},                  // token ids of one
      {R"({"prompt":[[1,2],[3],[4,5,6]],"n":2})", 6, -1},  // of three
      {R"({"prompt":[12,"mixed",13]})", 1, -1},            // llama.cpp's
      {R"({"prompt":[],"n":0})", 1, -1},
      {R"({"prompt":["a","b"],"n":2,"best_of":5})", 10, -1},
      {R"({"prompt":"a","best_of":null,"n":"4"})", 4, -1},  // as lenient servers read it
      {R"({"n":3.0,"messages":[{"role":"user","content":"\"n\":9"}]})", 3, -1},
      {R"({"messages":[{"n":9,"prompt":["a","b"]}],"tools":[{"parameters":{"n":8}}]})", 1, -1},
      {R"({"inputs":"a","parameters":{"best_of":2,"max_new_tokens":5,"parameters":{"best_of":9}}})", 2, 5},
      {R"({"prompt":["a","b"],"n":3,"parameters":{"prompt":"x","n":1,"max_tokens":1},"max_tokens":9})", 6, 9},
      {R"({"\u0070rompt":["a","b"],"\u006e":2})", 4, -1},
      {R"({"max_tokens":5,"max_completion_tokens":6})", 1, 6},
      {R"({"max_tokens":-1})", 1, -1},
      {R"({"n":1e300,"max_tokens":1e300})", 1 << 20, 1 << 20},
  };
  for (const Case& c : cases) {
    const RequestSize size = SizeOf(c.body);
    EXPECT_EQ(size.sequences, c.sequences) << c.body;
    EXPECT_EQ(size.output_tokens.value_or(-1), c.output_tokens) << c.body;
  }
}

TEST(RequestSizeTest, WhatIsNotAnObjectIsOneSequence) {
  for (const char* body :
       {"", "{", "[1,2]", "\"prompt\"", "{\"prompt\"", "{\"prompt\":", "{\"prompt\":[", "{\"n", "{\"n\\", "nonsense"})
    EXPECT_EQ(SizeOf(body).sequences, 1) << body;
  EXPECT_EQ(SizeOf(R"({"prompt":["a","b")").sequences, 2) << "cut off: as far as it goes";
}

TEST(RequestSizeTest, DeepNestingNeedsNoStack) {
  std::string body;
  for (int i = 0; i < 1'000'000; ++i) body += R"({"parameters":)";
  EXPECT_EQ(SizeOf(body).sequences, 1);
  EXPECT_EQ(SizeOf(R"({"n":2,"prompt":)" + std::string(1'000'000, '[')).sequences, 2);
}

TEST(RequestSizeTest, OnlyTrueAsksForAStream) {
  EXPECT_TRUE(SizeOf(R"({"prompt":"a","stream": true})").stream);
  EXPECT_FALSE(SizeOf(R"({"prompt":"\"stream\":true","stream":false})").stream);
  EXPECT_FALSE(SizeOf(R"({"prompt":"a"})").stream);
}

}  // namespace
}  // namespace patella::wire
