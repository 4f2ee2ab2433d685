// How fast the CPU backend computes, without scheduler or HTTP: prefill at 128 and 512 tokens, decode at batches 1 … 64 with a
// context of 128, and what part of the machine's read bandwidth decode reaches. Prints a table; the median of some runs each.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "engine/model/llama.h"

namespace patella::engine {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// GB/s that `threads` threads read from a buffer larger than any cache; the best of five.
double ReadBandwidth(int threads) {
  constexpr size_t kWords = size_t{256} << 17;  // 256 MiB of 8 bytes
  std::vector<uint64_t> buffer(kWords, 1);
  double best = 0;
  std::vector<uint64_t> sums(static_cast<size_t>(threads) * 8);
  for (int run = 0; run < 5; ++run) {
    const auto start = Clock::now();
    std::vector<std::thread> readers;
    for (int t = 0; t < threads; ++t) {
      readers.emplace_back([&, t] {
        const size_t share = kWords / static_cast<size_t>(threads), begin = share * static_cast<size_t>(t);
        uint64_t sum[8] = {};
        for (size_t i = begin; i + 8 <= begin + share; i += 8) {
          for (size_t j = 0; j < 8; ++j) sum[j] += buffer[i + j];
        }
        sums[static_cast<size_t>(t) * 8] = std::accumulate(sum, sum + 8, uint64_t{0});
      });
    }
    for (std::thread& reader : readers) reader.join();
    best = std::max(best, static_cast<double>(kWords * 8) / SecondsSince(start) / 1e9);
  }
  return best;
}

class Bench {
 public:
  Bench(Executor& executor, int context) : executor_(executor), context_(context) {
    const int pages = (std::max(context + 64, 512) + 15) / 16;
    tables_.resize(64);
    int32_t next = 0;
    for (auto& table : tables_) {
      for (int i = 0; i < pages; ++i) table.push_back(next++);
    }
    for (int i = 0; i < 512; ++i) tokens_.push_back(100 + i * 37 % 20000);
  }

  // Tokens per second of one prompt of `length`.
  double Prefill(int length) {
    return Median(5, length, [&](int) {
      Step({{{tokens_.data(), static_cast<size_t>(length)}, 0, tables_[0], true}});
    });
  }

  double Decode(int batch) {
    std::vector<StepItem> items;
    for (int i = 0; i < batch; ++i) {
      const auto at = static_cast<size_t>(i);
      Step({{{tokens_.data(), static_cast<size_t>(context_)}, 0, tables_[at], false}});
      items.push_back({{tokens_.data() + i, 1}, context_, tables_[at], true});
    }
    return Median(24, batch, [&](int step) {
      for (StepItem& item : items) item.first_position = context_ + step;
      Step(items);
    });
  }

 private:
  void Step(const std::vector<StepItem>& items) {
    if (absl::Status status = executor_.Forward(items, &logits_); !status.ok()) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      std::exit(1);
    }
  }
  // The median is what a server sees; other work on the machine only ever adds.
  template <class Work>
  double Median(int runs, int tokens, Work work) {
    std::vector<double> seconds;
    for (int run = 0; run < runs; ++run) {
      const auto start = Clock::now();
      work(run);
      seconds.push_back(SecondsSince(start));
    }
    std::sort(seconds.begin(), seconds.end());
    return tokens / seconds[seconds.size() / 2];
  }

  Executor& executor_;
  int context_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<int32_t> tokens_;
  std::vector<float> logits_;
};

int Main(const std::string& path, const CpuOptions& options, const std::string& ops_name) {
  auto file = GgufFile::Open(path);
  if (!file.ok()) return std::fprintf(stderr, "%s\n", file.status().ToString().c_str()), 1;
  LlamaOptions llama{.cpu = options};
  for (const cpu::Ops* ops : cpu::SupportedOps()) {
    if (ops_name == ops->name) llama.ops = ops;
  }
  auto executor = LoadLlama(**file, llama);
  auto bytes = CountWeightBytes(**file);
  if (!executor.ok()) return std::fprintf(stderr, "%s\n", executor.status().ToString().c_str()), 1;
  const double weights = static_cast<double>(bytes->layers + bytes->head) / 1e9;
  const double bandwidth = ReadBandwidth(options.threads > 0 ? options.threads : 2);
  std::printf("kernels %s, weights %.1f MB, memory reads %.1f GB/s\n",
              llama.ops != nullptr ? llama.ops->name : cpu::BestOps().name, weights * 1e3, bandwidth);
  Bench bench(**executor, 128);
  bench.Prefill(128);
  for (int length : {128, 512}) std::printf("prefill %4d tokens  %8.0f tok/s\n", length, bench.Prefill(length));
  for (int batch : {1, 4, 8, 16, 32, 64}) {
    const double rate = bench.Decode(batch);
    const double reads = rate / batch * weights;
    std::printf("decode  batch %4d  %8.0f tok/s  %6.2f ms/step  %5.1f GB/s of weights, %3.0f %% of the roofline\n",
                batch, rate, batch / rate * 1e3, reads, 100 * reads / bandwidth);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace patella::engine

int main(int argc, char** argv) {
  CLI::App app("Speed of the CPU backend on a model file");
  std::string path, ops;
  patella::engine::CpuOptions options;
  app.add_option("model", path, "a .gguf file")->required();
  app.add_option("--threads", options.threads, "0: as many as the CPU quota gives");
  app.add_option("--ops", ops, "portable, avx2 or avx512; the best by default");
  CLI11_PARSE(app, argc, argv);
  options.kv_tokens = 64 * 512;
  return patella::engine::Main(path, options, ops);
}
