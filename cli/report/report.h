// A report as plain values, and its three forms: a self-contained HTML page, a plot for the terminal, and text tables.
//
// Whoever measures (`bench`, `tune`, `demo`) fills a Report; what is empty is left out of the page. Rendering is pure: the same values give the
// same bytes. The page loads nothing from anywhere: styles and charts (SVG) are in it. Units are in the names.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace patella::cli {

enum class Tone { kGood, kWarning, kBad, kNeutral };

struct ReportPoint {
  int concurrency = 0;
  double tokens_per_second = 0;
  double tokens_per_second_ci95 = 0;  // half-width; 0: unknown
  double mean_ms_per_token = 0;       // end to end
  std::optional<double> p90_tpot_ms, p90_ttft_ms, p90_e2e_ms;
  int requests = 0;
  int refused = 0;  // 429
  std::optional<double> little_ratio;
  std::string phase;  // "ramp", "verify", "bench"
};

struct ReportLaw {
  double a_ms = 0;
  double b_ms = 0;
  std::optional<double> cap;
  double error_ratio = 0;  // how far it may be off, for the band: 0.03 is ± 3 %
};

struct ReportKnee {
  std::string definition;  // "HalfLatency": science::NameOf
  double concurrency = 0;
  std::string meaning;  // one sentence
  bool chosen = false;
};

struct ReportTarget {
  std::string text;  // "p90 time per output token ≤ 50 ms"
  double limit_ms = 0;
  bool per_token = true;  // on the charts' latency axis
};

// One side of a before/after comparison under the same load.
struct ReportArm {
  std::string name;  // "with Patella (limit 11)"
  double p90_ms = 0;
  double goodput_tokens_per_second = 0;
  int completed = 0, refused = 0, failed = 0;
  bool ours = false;
};

struct Report {
  std::string title;     // "SmolLM2-135M on 2 CPU cores"
  std::string subtitle;  // what was measured, where
  std::string verdict;   // one sentence
  Tone tone = Tone::kNeutral;
  std::vector<std::pair<std::string, std::string>> figures;  // big numbers under the verdict: {"limit", "11"}
  std::vector<ReportPoint> points;
  std::optional<ReportLaw> law;
  std::vector<ReportKnee> knees;
  std::optional<ReportTarget> target;
  std::optional<int> limit;
  std::string bound_by;  // why the limit is what it is
  std::vector<ReportArm> arms;
  std::string arms_title;                                // "33 clients against a limit of 11"
  std::vector<std::pair<std::string, std::string>> how;  // how it was measured
  std::vector<std::string> next_commands;
  std::map<std::string, std::string> urls;  // what serves now: {"clients", "http://127.0.0.1:8080"}
  std::string note;                         // caveats, e.g. a noisy machine
};

std::string RenderHtml(const Report& report);

// Latency over throughput in braille characters; "" with fewer than two points. `colour`: with ANSI escapes.
std::string RenderTerminalPlot(const Report& report, int columns, bool colour);

// Aligned columns: the first row is the heading, the first column is flush left, the others right. Cells may hold UTF-8.
std::string RenderTable(const std::vector<std::vector<std::string>>& rows);

// "1234", "87.3", "8.42", "0.061": three digits that matter; "–" for NaN and infinity.
std::string Number(double value);

std::string EscapeHtml(std::string_view text);

}  // namespace patella::cli
