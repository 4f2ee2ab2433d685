#include "lib/science/catalogue.h"

#include <algorithm>
#include <cctype>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace patella::science {
namespace {

// name, parameters, active (10⁹), layers, hidden, heads, KV heads, head size. Source: each model's config.json.
const ModelShape kModels[] = {
    {"Llama-2-7b", 6.74, 0, 32, 4096, 32, 32, 128},       {"Llama-2-13b", 13.02, 0, 40, 5120, 40, 40, 128},
    {"Llama-2-70b", 68.98, 0, 80, 8192, 64, 8, 128},      {"Llama-3-8B", 8.03, 0, 32, 4096, 32, 8, 128},
    {"Llama-3-70B", 70.55, 0, 80, 8192, 64, 8, 128},      {"Mistral-7B", 7.24, 0, 32, 4096, 32, 8, 128},
    {"Mixtral-8x7B", 46.70, 12.88, 32, 4096, 32, 8, 128}, {"falcon-7b", 7.22, 0, 32, 4544, 71, 1, 64},
    {"falcon-40b", 41.84, 0, 60, 8192, 128, 8, 64},       {"SmolLM2-135M", 0.1345, 0, 30, 576, 9, 3, 64},
};

// name, instance, usable GB, GB/s, FP16 TFLOPS (dense, NVIDIA's data sheets), NVLink, per node, micro-dollars per
// node-hour. Prices are approximate EC2 on-demand list prices for us-east-1, Linux, as of 2024, noted from memory and
// not looked up since. They change (and SageMaker adds to them): set your own with `patella plan --price`. Usable
// memory of A10G and A100-40: the published curves; of the others the data sheet's less about 1 %.
const Accelerator kAccelerators[] = {
    {"a10g-x1", "g5.2xlarge", 23.8, 600, 70, false, 1, {1'212'000}},
    {"a10g-x4", "g5.12xlarge", 23.8, 600, 70, false, 4, {5'672'000}},
    {"a10g-x8", "g5.48xlarge", 23.8, 600, 70, false, 8, {16'288'000}},
    {"a100-40g", "p4d.24xlarge", 42.4, 1555, 312, true, 8, {32'772'600}},
    {"a100-80g", "p4de.24xlarge", 85.0, 2039, 312, true, 8, {40'965'700}},
    {"l4", "g6.2xlarge", 23.8, 300, 121, false, 1, {977'600}},
    {"l40s", "g6e.2xlarge", 47.7, 864, 362, false, 1, {2'242'080}},
    {"h100", "p5.48xlarge", 84.9, 3350, 989, true, 8, {98'320'000}},
    {"h200", "p5en.48xlarge", 149.8, 4800, 989, true, 8, {84'800'000}},
};

std::string Plain(std::string_view name) {
  if (const size_t slash = name.rfind('/'); slash != std::string_view::npos) name.remove_prefix(slash + 1);
  std::string plain;
  for (const char c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)))
      plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  if (plain.starts_with("meta")) plain.erase(0, 4);
  return plain;
}

// Llama-3.1 has the shape of Llama-3: the digit goes.
std::string WithoutMinorVersion(std::string plain) {
  for (const std::string_view minor : {"llama31", "llama33"}) {
    if (plain.starts_with(minor)) plain.erase(6, 1);
  }
  return plain;
}

int Distance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

}  // namespace

std::span<const Accelerator> KnownAccelerators() { return kAccelerators; }

absl::StatusOr<ModelShape> FindModel(std::string_view name) {
  const std::string wanted = WithoutMinorVersion(Plain(name));
  std::vector<std::pair<int, std::string>> near;
  for (const ModelShape& model : kModels) {
    const std::string known = Plain(model.name);
    if (wanted.starts_with(known)) return model;
    near.emplace_back(Distance(wanted, known), model.name);
  }
  std::stable_sort(near.begin(), near.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> names;
  for (size_t i = 0; i < 3; ++i) names.push_back(near[i].second);
  return absl::NotFoundError(absl::StrCat("model \"", std::string(name),
                                          "\" is not in the catalogue; near names: ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<Accelerator> FindAccelerator(std::string_view name) {
  const std::string wanted = Plain(name);
  std::vector<std::string> names;
  for (const Accelerator& accelerator : kAccelerators) {
    const std::string known = Plain(accelerator.name), instance = Plain(accelerator.instance);
    const bool short_name = wanted == "a10g" || wanted == "a100";
    if (wanted == known || wanted == instance || (instance == wanted + "arge" && wanted.ends_with("xl")) ||
        (short_name && known.starts_with(wanted))) {
      return accelerator;
    }
    names.push_back(absl::StrCat(accelerator.name, " (", accelerator.instance, ")"));
  }
  return absl::NotFoundError(absl::StrCat("accelerator \"", std::string(name),
                                          "\" is not in the catalogue; known: ", absl::StrJoin(names, ", ")));
}

}  // namespace patella::science
