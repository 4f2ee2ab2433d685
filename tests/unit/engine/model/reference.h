// A tiny random Llama and its forward pass in double precision, as plain as it can be written: the oracle of llama_test.cc.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/formats/gguf.h"

namespace patella::engine {

// 2 layers, hidden 64, 4 heads over 2 KV heads of 16, feed-forward 96, vocabulary 80. Init 0.15: with a smaller one the
// attention is flat and mistakes in it would not show.
std::unique_ptr<GgufFile> TinyLlama(TensorType type, uint64_t seed, const std::string& path);

enum class Mutation { kNone, kNoRope, kWrongTheta, kShiftedKvHeads, kWrongEpsilon };

// Logits of the last token.
std::vector<double> ReferenceLogits(const GgufFile& file, std::span<const int32_t> tokens, Mutation mutation);

}  // namespace patella::engine
