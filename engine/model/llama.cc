#include "engine/model/llama.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/backend/cpu/thread_pool.h"
#include "engine/model/weights.h"
#include "lib/base/cgroup.h"
#include "lib/base/status_macros.h"

namespace patella::engine {
namespace {

using cpu::kBlock;
using cpu::kPanel;

constexpr int kRowsWorthSharing = 8;        // fewer rows of element-wise work cost less than a join
constexpr int kQueriesPerTile = 32;         // tokens of one prefill that one attention tile takes
constexpr int64_t kWorthSharing = 1 << 19;  // multiply-adds of a GEMM; fewer cost less than a join

// A run of tokens of one item that one attention tile computes.
struct QueryRun {
  int item;
  int first;  // token within the item
  int row;    // of the batch
  int count;
};

// Rows of activations, float and quantised.
struct Rows {
  Rows() = default;
  Rows(int rows, int k) : width(k) {
    const size_t count = static_cast<size_t>(rows) * static_cast<size_t>(k);
    x.resize(count);
    q.resize(count);
    scale.resize(count / kBlock);
    scaled_sum.resize(count / kBlock);
  }
  float* row(int r) { return x.data() + static_cast<ptrdiff_t>(r) * width; }
  cpu::Activations view() const { return {x.data(), q.data(), scale.data(), scaled_sum.data()}; }
  void Quantize(const cpu::Ops& ops, int r) {
    const ptrdiff_t at = static_cast<ptrdiff_t>(r) * width;
    ops.quantize(x.data() + at, width, q.data() + at, scale.data() + at / kBlock, scaled_sum.data() + at / kBlock);
  }

  int width = 0;
  std::vector<float> x;
  std::vector<int8_t> q;
  std::vector<float> scale;
  std::vector<float> scaled_sum;
};

class Llama final : public Executor {
 public:
  Llama(const ModelInfo& model, Weights weights, const LlamaOptions& options, int threads)
      : model_(model),
        weights_(std::move(weights)),
        options_(options.cpu),
        ops_(options.ops != nullptr ? *options.ops : cpu::BestOps()),
        pool_(threads) {
    const int rows = options_.max_tokens_per_forward;
    q_width_ = model.heads * model.head_dim;
    kv_width_ = model.kv_heads * model.head_dim;
    residual_ = Floats(rows, model.hidden);
    qkv_ = Floats(rows, q_width_ + 2 * kv_width_);
    gate_up_ = Floats(rows, 2 * model.feed_forward);
    angles_ = Floats(rows, model.head_dim);
    normed_ = Rows(rows, model.hidden);
    attended_ = Rows(rows, q_width_);
    activated_ = Rows(rows, model.feed_forward);
    runs_.reserve(static_cast<size_t>(rows));
    row_item_.resize(static_cast<size_t>(rows));
    row_position_.resize(static_cast<size_t>(rows));
    blocks_ = static_cast<int>(options_.kv_tokens / options_.block_size);
    const size_t cells = static_cast<size_t>(blocks_) * static_cast<size_t>(CellsPerBlock() * model.kv_heads);
    layer_halves_ = cells * CellHalves();
    cache_ = cpu::AllocateAligned(layer_halves_ * sizeof(uint16_t) * static_cast<size_t>(model.layers));
  }

  absl::Status Forward(std::span<const StepItem> items, std::vector<float>* logits) override {
    PATELLA_RETURN_IF_ERROR(Check(items));
    Prepare(items);
    for (int i = 0; i < model_.layers; ++i) {
      Attention(i, items);
      FeedForward(weights_.layers[static_cast<size_t>(i)]);
    }
    Head(items, logits);
    return absl::OkStatus();
  }
  int vocab_size() const override { return model_.vocab; }
  Capacity capacity() const override { return {options_.block_size, blocks_, options_.max_tokens_per_forward}; }

 private:
  static std::vector<float> Floats(int rows, int width) {
    return std::vector<float>(static_cast<size_t>(rows) * static_cast<size_t>(width));
  }
  int CellsPerBlock() const { return options_.block_size / kPanel; }
  size_t CellHalves() const { return static_cast<size_t>(2 * kPanel * model_.head_dim); }
  // (layer, block, sub-block, head, cell)
  uint16_t* Cells(int layer, int head) {
    return reinterpret_cast<uint16_t*>(cache_.get()) + static_cast<size_t>(layer) * layer_halves_ +
           static_cast<size_t>(head) * CellHalves();
  }
  size_t CellStride() const { return CellHalves() * static_cast<size_t>(model_.kv_heads); }
  float* Residual(int row) { return residual_.data() + static_cast<ptrdiff_t>(row) * model_.hidden; }
  float* Qkv(int row) { return qkv_.data() + static_cast<ptrdiff_t>(row) * (q_width_ + 2 * kv_width_); }

  absl::Status Check(std::span<const StepItem> items) const;
  void Prepare(std::span<const StepItem> items);
  void Attention(int layer, std::span<const StepItem> items);
  void RotateAndStore(const LayerWeights& layer, int index, std::span<const StepItem> items);
  void FeedForward(const LayerWeights& layer);
  void Head(std::span<const StepItem> items, std::vector<float>* logits);
  void Multiply(const cpu::PackedMatrix& w, const Rows& a, int rows, float* y, int stride, bool accumulate);

  // Element-wise work on each row: shared only when there are enough rows to pay for the join.
  template <class Work>
  void EachRow(int rows, Work work) {
    if (rows < kRowsWorthSharing) {
      for (int r = 0; r < rows; ++r) work(r);
      return;
    }
    const int tiles = std::min(rows, 4 * pool_.threads());
    pool_.Run(tiles, [&](int tile) {
      for (int r = rows * tile / tiles; r < rows * (tile + 1) / tiles; ++r) work(r);
    });
  }

  ModelInfo model_;
  Weights weights_;
  CpuOptions options_;
  const cpu::Ops& ops_;
  cpu::ThreadPool pool_;
  int q_width_, kv_width_, blocks_;
  size_t layer_halves_;
  cpu::AlignedBytes cache_;

  int rows_ = 0;  // of the batch in hand; everything below is sized once for the largest
  std::vector<QueryRun> runs_;
  std::vector<int> row_item_, row_position_;
  std::vector<float> residual_, qkv_, gate_up_, angles_;
  Rows normed_, attended_, activated_;
};

absl::Status Llama::Check(std::span<const StepItem> items) const {
  size_t rows = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const StepItem& item = items[i];
    const auto refuse = [&](auto... parts) {
      return absl::InvalidArgumentError(absl::StrCat("item ", i, " of the batch: ", parts...));
    };
    rows += item.tokens.size();
    if (item.tokens.empty() || item.first_position < 0) return refuse("no tokens, or a negative position");
    const size_t end = static_cast<size_t>(item.first_position) + item.tokens.size();
    if (item.blocks.size() * static_cast<size_t>(options_.block_size) < end) {
      return refuse(item.blocks.size(), " blocks do not cover ", end, " tokens");
    }
    for (int32_t token : item.tokens) {
      if (token < 0 || token >= model_.vocab) return refuse("token ", token, " is not in the vocabulary");
    }
    for (int32_t block : item.blocks) {
      if (block < 0 || block >= blocks_) return refuse("block ", block, " is not in the pool");
    }
  }
  if (rows > static_cast<size_t>(options_.max_tokens_per_forward)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a batch of ", rows, " tokens; at most ", options_.max_tokens_per_forward, " fit"));
  }
  return absl::OkStatus();
}

void Llama::Prepare(std::span<const StepItem> items) {
  runs_.clear();
  rows_ = 0;
  const cpu::PackedMatrix& embedding = weights_.embedding;
  for (size_t i = 0; i < items.size(); ++i) {
    const int count = static_cast<int>(items[i].tokens.size());
    for (int first = 0; first < count; first += kQueriesPerTile) {
      runs_.push_back({static_cast<int>(i), first, rows_ + first, std::min(kQueriesPerTile, count - first)});
    }
    for (int t = 0; t < count; ++t, ++rows_) {
      row_item_[static_cast<size_t>(rows_)] = static_cast<int>(i);
      row_position_[static_cast<size_t>(rows_)] = items[i].first_position + t;
    }
  }
  EachRow(rows_, [&](int r) {
    const StepItem& item = items[static_cast<size_t>(row_item_[static_cast<size_t>(r)])];
    const int position = row_position_[static_cast<size_t>(r)];
    embedding.Gather(item.tokens[static_cast<size_t>(position - item.first_position)], Residual(r));
    float* angles = angles_.data() + static_cast<ptrdiff_t>(r) * model_.head_dim;
    const int half = model_.head_dim / 2;
    for (int d = 0; d < half; ++d) {
      const float angle = static_cast<float>(position) * weights_.inverse_frequency[static_cast<size_t>(d)];
      angles[d] = std::cos(angle);
      angles[half + d] = std::sin(angle);
    }
  });
}

void Llama::Multiply(const cpu::PackedMatrix& w, const Rows& a, int rows, float* y, int stride, bool accumulate) {
  const cpu::GemmTask whole = {w.view(), a.view(), rows, 0, (w.rows() + kPanel - 1) / kPanel, y, stride, accumulate};
  const int panels = whole.panel_end;
  if (int64_t{w.rows()} * w.k() * rows < kWorthSharing) {
    ops_.gemm(whole);
    return;
  }
  const int tiles = std::min(panels, 6 * pool_.threads());
  pool_.Run(tiles, [&](int tile) {
    cpu::GemmTask part = whole;
    part.panel_begin = panels * tile / tiles;
    part.panel_end = panels * (tile + 1) / tiles;
    ops_.gemm(part);
  });
}

void Llama::RotateAndStore(const LayerWeights& layer, int index, std::span<const StepItem> items) {
  const int dim = model_.head_dim;
  const bool half_split = model_.architecture != "llama";  // llama's converter interleaves the pairs
  EachRow(rows_, [&](int r) {
    const auto at = static_cast<size_t>(r);
    float* q = Qkv(r);
    float* k = q + q_width_;
    const float* v = k + kv_width_;
    if (!layer.qkv_bias.empty()) {
      for (size_t i = 0; i < layer.qkv_bias.size(); ++i) q[i] += layer.qkv_bias[i];
    }
    const auto norm = [&](float* x, int heads, const std::vector<float>& weight) {
      for (int h = 0; h < heads && !weight.empty(); ++h, x += dim) {
        ops_.rms_norm(x, weight.data(), dim, model_.rms_epsilon, x);
      }
    };
    norm(q, model_.heads, layer.q_norm);
    norm(k, model_.kv_heads, layer.k_norm);
    const float* cosine = angles_.data() + static_cast<ptrdiff_t>(r) * dim;
    ops_.rope(q, model_.heads + model_.kv_heads, dim, cosine, cosine + dim / 2, half_split);
    const int position = row_position_[at];
    const StepItem& item = items[static_cast<size_t>(row_item_[at])];
    const auto block = static_cast<size_t>(item.blocks[static_cast<size_t>(position / options_.block_size)]);
    const auto cell =
        block * static_cast<size_t>(CellsPerBlock()) + static_cast<size_t>(position % options_.block_size / kPanel);
    for (int h = 0; h < model_.kv_heads; ++h) {
      ops_.store_kv(k + h * dim, v + h * dim, dim, position % kPanel, Cells(index, h) + cell * CellStride());
    }
  });
}

void Llama::Attention(int index, std::span<const StepItem> items) {
  const LayerWeights& layer = weights_.layers[static_cast<size_t>(index)];
  EachRow(rows_, [&](int r) {
    ops_.rms_norm(Residual(r), layer.attention_norm.data(), model_.hidden, model_.rms_epsilon, normed_.row(r));
    normed_.Quantize(ops_, r);
  });
  const int stride = q_width_ + 2 * kv_width_;
  Multiply(layer.qkv, normed_, rows_, qkv_.data(), stride, false);
  RotateAndStore(layer, index, items);

  const int group = model_.heads / model_.kv_heads;
  const auto attend = [&](int tile) {
    // Last runs first: the end of a long prefill sees the most tokens.
    const QueryRun& run = runs_[runs_.size() - 1 - static_cast<size_t>(tile / model_.kv_heads)];
    const int head = tile % model_.kv_heads, offset = head * group * model_.head_dim;
    const StepItem& item = items[static_cast<size_t>(run.item)];
    ops_.attend({.q = Qkv(run.row) + offset,
                 .q_stride = stride,
                 .tokens = run.count,
                 .first_position = item.first_position + run.first,
                 .group = group,
                 .head_dim = model_.head_dim,
                 .scale = 1 / std::sqrt(static_cast<float>(model_.head_dim)),
                 .cells = Cells(index, head),
                 .cell_stride = CellStride(),
                 .blocks = item.blocks.data(),
                 .cells_per_block = CellsPerBlock(),
                 .out = attended_.row(run.row) + offset,
                 .out_stride = q_width_});
  };
  pool_.Run(static_cast<int>(runs_.size()) * model_.kv_heads, attend);
  EachRow(rows_, [&](int r) { attended_.Quantize(ops_, r); });
  Multiply(layer.output, attended_, rows_, residual_.data(), model_.hidden, true);
}

void Llama::FeedForward(const LayerWeights& layer) {
  EachRow(rows_, [&](int r) {
    ops_.rms_norm(Residual(r), layer.feed_forward_norm.data(), model_.hidden, model_.rms_epsilon, normed_.row(r));
    normed_.Quantize(ops_, r);
  });
  Multiply(layer.gate_up, normed_, rows_, gate_up_.data(), 2 * model_.feed_forward, false);
  EachRow(rows_, [&](int r) {
    const float* gate = gate_up_.data() + static_cast<ptrdiff_t>(r) * 2 * model_.feed_forward;
    ops_.swiglu(gate, gate + model_.feed_forward, model_.feed_forward, activated_.row(r));
    activated_.Quantize(ops_, r);
  });
  Multiply(layer.down, activated_, rows_, residual_.data(), model_.hidden, true);
}

void Llama::Head(std::span<const StepItem> items, std::vector<float>* logits) {
  int wanted = 0, row = 0;
  for (const StepItem& item : items) {
    row += static_cast<int>(item.tokens.size());
    for (int r = row - static_cast<int>(LogitRows(item)); r < row; ++r) {
      ops_.rms_norm(Residual(r), weights_.output_norm.data(), model_.hidden, model_.rms_epsilon, normed_.row(wanted));
      normed_.Quantize(ops_, wanted++);
    }
  }
  logits->resize(static_cast<size_t>(wanted) * static_cast<size_t>(model_.vocab));
  if (wanted > 0) Multiply(weights_.head_matrix(), normed_, wanted, logits->data(), model_.vocab, false);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Executor>> LoadLlama(const GgufFile& file, const LlamaOptions& options) {
  PATELLA_ASSIGN_OR_RETURN(const ModelInfo model, ReadModelInfo(file));
  const CpuOptions& cpu = options.cpu;
  if (cpu.block_size < kPanel || cpu.block_size % kPanel != 0 || cpu.kv_tokens < cpu.block_size ||
      cpu.max_tokens_per_forward < 1 || cpu.threads < 0 || cpu.kv_tokens / cpu.block_size > (1 << 30)) {
    return absl::InvalidArgumentError(absl::StrCat("CPU options: block_size ", cpu.block_size,
                                                   " must be a multiple of 16, kv_tokens ", cpu.kv_tokens,
                                                   " at least one block, max_tokens_per_forward and threads positive"));
  }
  PATELLA_ASSIGN_OR_RETURN(Weights weights, ReadWeights(file, model, options.exact));
  const int threads = cpu.threads > 0 ? cpu.threads : UsableThreads();
  return std::make_unique<Llama>(model, std::move(weights), options, threads);
}

absl::StatusOr<std::unique_ptr<Executor>> LoadCpu(const GgufFile& file, const CpuOptions& options) {
  return LoadLlama(file, LlamaOptions{.cpu = options});
}

absl::StatusOr<WeightBytes> CountWeightBytes(const GgufFile& file) {
  PATELLA_ASSIGN_OR_RETURN(const ModelInfo model, ReadModelInfo(file));
  PATELLA_ASSIGN_OR_RETURN(const Weights weights, ReadWeights(file, model, false));
  WeightBytes total;
  for (const LayerWeights& layer : weights.layers) {
    total.layers +=
        static_cast<int64_t>(layer.qkv.bytes() + layer.output.bytes() + layer.gate_up.bytes() + layer.down.bytes());
  }
  total.head = static_cast<int64_t>(weights.head_matrix().bytes());
  return total;
}

}  // namespace patella::engine
