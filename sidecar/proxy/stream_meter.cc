#include "sidecar/proxy/stream_meter.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace patella::sidecar {
namespace {

constexpr size_t kMaxLine = 64 << 10;  // of a longer line only the tail is looked at
constexpr size_t kMaxTail = 8 << 10;   // of a body that is no stream: usage stands at its end
constexpr int kMostSequences = 1024;   // that are told apart

bool StartsWithIgnoringCase(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), text.begin(), [](char a, char b) {
           return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b + 32) : b);
         });
}

}  // namespace

int64_t FindNumber(std::string_view json, std::string_view key, int64_t fallback) {
  for (size_t at = json.rfind(key); at != std::string_view::npos && at > 0; at = json.rfind(key, at - 1)) {
    size_t i = at + key.size();
    if (json[at - 1] == '"' && i < json.size() && json[i] == '"') {
      for (++i; i < json.size() && (json[i] == ' ' || json[i] == ':'); ++i) {
      }
      int64_t number = 0;
      if (std::from_chars(json.data() + i, json.data() + json.size(), number).ec == std::errc()) return number;
    }
  }
  return fallback;
}

void StreamMeter::OnHead(int status, std::string_view content_type) {
  status_ = status;
  streamed_ = StartsWithIgnoringCase(content_type, "text/event-stream");
}

std::span<const Arrival> StreamMeter::OnBytes(std::string_view bytes, TimePoint now) {
  arrivals_.clear();
  if (!streamed_) {
    partial_.append(bytes);
    if (partial_.size() > 2 * kMaxTail) partial_.erase(0, partial_.size() - kMaxTail);
    return arrivals_;
  }
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    if (end == std::string_view::npos) {
      partial_.append(bytes);
      if (partial_.size() > 2 * kMaxLine) partial_.erase(0, partial_.size() - kMaxLine);
      break;
    }
    if (partial_.empty()) {
      OnLine(bytes.substr(0, end));
    } else {
      partial_.append(bytes.substr(0, end));
      OnLine(partial_);
      partial_.clear();
    }
    bytes.remove_prefix(end + 1);
  }
  for (Sequence& s : sequences_) {
    if (s.fresh == 0) continue;
    const bool first = s.tokens == 0;
    if (output_tokens_ == 0) first_ = now;
    if (first) s.first = s.last = now;
    arrivals_.push_back({.tokens = s.fresh, .first = first, .gap_ms = Milliseconds(now - s.last)});
    s.last = now;
    s.tokens += s.fresh;
    output_tokens_ += std::exchange(s.fresh, 0);
  }
  return arrivals_;
}

void StreamMeter::OnLine(std::string_view line) {
  if (!line.starts_with("data:")) return;
  line.remove_prefix(5);
  for (const wire::StreamPiece& piece : wire::PiecesOf(line)) {
    const auto at = static_cast<size_t>(std::min(piece.choice, kMostSequences - 1));
    if (at >= sequences_.size()) sequences_.resize(at + 1);
    sequences_[at].fresh += sequences_[at].pieces.TokensIn(piece);
  }
  ReadUsage(line);
}

void StreamMeter::ReadUsage(std::string_view json) {
  // TGI: details.generated_tokens; OpenAI: usage.{completion,prompt}_tokens.
  const int64_t output = FindNumber(json, "completion_tokens", FindNumber(json, "generated_tokens", 0));
  if (output <= 0) return;
  usage_output_tokens_ = static_cast<int>(std::min<int64_t>(output, 1 << 30));
  prompt_tokens_ = static_cast<int>(
      std::clamp<int64_t>(FindNumber(json, "prompt_tokens", FindNumber(json, "input_length", 0)), 0, 1 << 30));
  cached_tokens_ = static_cast<int>(std::clamp<int64_t>(FindNumber(json, "cached_tokens", 0), 0, prompt_tokens_));
}

StreamRecord StreamMeter::Finish(bool complete, TimePoint now) {
  if (!streamed_) ReadUsage(partial_);
  StreamRecord record;
  record.ok = complete && status_ == 200;
  record.streamed = streamed_;
  record.prompt_tokens = prompt_tokens_;
  record.cached_tokens = cached_tokens_;
  record.output_tokens = std::max(output_tokens_, usage_output_tokens_);
  record.end_to_end_ms = Milliseconds(now - arrived_);
  if (streamed_ && output_tokens_ > 0) {
    record.time_to_first_token_ms = Milliseconds(first_ - arrived_);
    double decoding_ms = 0;
    int later_tokens = record.output_tokens;
    for (const Sequence& s : sequences_) {
      if (s.tokens == 0) continue;
      decoding_ms += Milliseconds(s.last - s.first);
      --later_tokens;
    }
    if (later_tokens > 0) record.time_per_output_token_ms = decoding_ms / later_tokens;
  }
  return record;
}

}  // namespace patella::sidecar
