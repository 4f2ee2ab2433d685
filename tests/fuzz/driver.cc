// main for fuzz targets where libFuzzer is not: mutates the files of the folders given, blindly but repeatably, and takes the flags
// of libFuzzer that tools/fuzz.sh uses. An input that crashes is in ./crash-TARGET when the process dies.
//   TARGET [-runs=N] [-max_total_time=SECONDS] [-seed=N] FOLDER...
#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "lib/base/random.h"
#include "tests/fuzz/fuzz.h"

namespace patella::fuzz {
namespace {

constexpr size_t kMostBytes = 1 << 18;

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// One to eight small changes: bits, bytes, odd numbers, cuts, repeats, and a piece of another input.
std::string Mutate(std::string input, const std::vector<std::string>& others, Random& random) {
  constexpr uint64_t kOdd[] = {0,      1,          0x7f,       0x80,       0xff,  0x7fff,
                               0xffff, 0x7fffffff, 0x80000000, 0xffffffff, ~0ull, 1ull << 63};
  for (int64_t changes = random.UniformInt(1, 8); changes > 0; --changes) {
    if (input.empty()) input.assign(1, 'x');
    const auto at = static_cast<size_t>(random.UniformInt(0, static_cast<int64_t>(input.size()) - 1));
    const auto length =
        static_cast<size_t>(random.UniformInt(1, std::min<int64_t>(64, static_cast<int64_t>(input.size() - at))));
    switch (random.UniformInt(0, 6)) {
      case 0:
        input[at] = static_cast<char>(input[at] ^ (1 << random.UniformInt(0, 7)));
        break;
      case 1:
        input[at] = static_cast<char>(random.UniformInt(0, 255));
        break;
      case 2: {
        const uint64_t value = kOdd[random.UniformInt(0, std::ssize(kOdd) - 1)];
        std::memcpy(input.data() + at, &value,
                    std::min<size_t>({sizeof value, size_t{1} << random.UniformInt(0, 3), input.size() - at}));
        break;
      }
      case 3:
        input.erase(at, length);
        break;
      case 4:
        input.insert(at, input.substr(at, length));
        break;
      case 5:
        input.resize(at);
        break;
      default: {
        const std::string& other = others[static_cast<size_t>(random.UniformInt(0, std::ssize(others) - 1))];
        if (other.empty()) break;
        const auto from = static_cast<size_t>(random.UniformInt(0, static_cast<int64_t>(other.size()) - 1));
        input.insert(at, other.substr(from, length));
      }
    }
    if (input.size() > kMostBytes) input.resize(kMostBytes);
  }
  return input;
}

void Run(const std::string& crash_file, const std::string& input) {
  std::ofstream(crash_file, std::ios::binary) << input;
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

int Main(int argc, char** argv) {
  long long runs = -1, seconds = -1, seed = 1, done = 0;
  std::vector<std::string> corpus;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto flag = [&](const std::string& name, long long* value) {
      if (argument.starts_with(name)) *value = std::atoll(argument.c_str() + name.size());
    };
    flag("-runs=", &runs);
    flag("-max_total_time=", &seconds);
    flag("-seed=", &seed);
    if (!std::filesystem::is_directory(argument)) continue;
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(argument)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const auto& file : files) corpus.push_back(ReadFile(file));
  }
  if (corpus.empty() || (runs < 0 && seconds < 0)) {
    std::fprintf(stderr, "usage: %s -runs=N|-max_total_time=SECONDS [-seed=N] FOLDER...\n", argv[0]);
    return 2;
  }
  const std::string crash_file = "crash-" + std::filesystem::path(argv[0]).filename().string();
  const auto start = std::chrono::steady_clock::now();
  const auto over = [&] {
    return (runs >= 0 && done >= runs) ||
           (seconds >= 0 && std::chrono::steady_clock::now() - start > std::chrono::seconds(seconds));
  };
  for (const std::string& input : corpus) Run(crash_file, input);
  Random random(static_cast<uint64_t>(seed));
  for (; !over(); ++done) {
    const std::string& from = corpus[static_cast<size_t>(random.UniformInt(0, std::ssize(corpus) - 1))];
    Run(crash_file, Mutate(from, corpus, random));
  }
  std::filesystem::remove(crash_file);
  std::fprintf(stderr, "%lld mutated inputs, none broke a promise\n", done);
  return 0;
}

}  // namespace
}  // namespace patella::fuzz

int main(int argc, char** argv) { return patella::fuzz::Main(argc, argv); }
