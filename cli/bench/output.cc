#include "cli/bench/output.h"

#include <cmath>

#include "lib/base/text.h"
#include "nlohmann/json.hpp"

namespace patella::cli {
namespace {

using nlohmann::json;

constexpr int kPlotColumns = 76;

std::string Cell(const std::optional<double>& value) { return value ? Number(*value) : "–"; }

json OrNull(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? json(*value) : json(nullptr);
}

std::string PointsTable(const Report& report) {
  std::vector<std::vector<std::string>> rows = {{"at once", "tok/s", "±95%", "mean ms/tok", "p90 tpot ms",
                                                 "p90 ttft ms", "p90 e2e ms", "requests", "429", "Little", "phase"}};
  for (const ReportPoint& point : report.points) {
    rows.push_back({std::to_string(point.concurrency), Number(point.tokens_per_second),
                    point.tokens_per_second_ci95 > 0 ? Number(point.tokens_per_second_ci95) : "–",
                    Number(point.mean_ms_per_token), Cell(point.p90_tpot_ms), Cell(point.p90_ttft_ms),
                    Cell(point.p90_e2e_ms), std::to_string(point.requests), std::to_string(point.refused),
                    Cell(point.little_ratio), point.phase});
  }
  return RenderTable(rows);
}

std::string LawText(const ReportLaw& law) {
  std::string text = StrCat("R(c) = ", Number(law.a_ms), " + ", Number(law.b_ms), "·c ms per token");
  if (law.cap) text += StrCat(", up to c = ", Number(*law.cap), " (KV cache)");
  if (law.error_ratio > 0) text += StrCat(", within ±", Number(100 * law.error_ratio), " %");
  return text;
}

}  // namespace

std::string ToText(const Report& report, bool colour) {
  std::string out = StrCat(report.title, "\n", report.subtitle, "\n\n");
  if (!report.points.empty()) out += PointsTable(report) + "\n";
  if (const std::string plot = RenderTerminalPlot(report, kPlotColumns, colour); !plot.empty()) out += plot + "\n";
  if (report.law) out += StrCat("law    ", LawText(*report.law), "\n");
  if (!report.knees.empty()) {
    out += "knees\n";
    for (const ReportKnee& knee : report.knees) {
      const std::string name = knee.definition + std::string(24 - std::min<size_t>(24, knee.definition.size()), ' ');
      const std::string at = Number(knee.concurrency);
      out += StrCat(knee.chosen ? "  → " : "    ", name, " ", at, std::string(at.size() < 7 ? 7 - at.size() : 1, ' '),
                    knee.meaning, "\n");
    }
  }
  for (const auto& [name, value] : report.how) out += StrCat(name, ": ", value, "\n");
  if (!report.note.empty()) out += StrCat("\n", report.note, "\n");
  return out + StrCat("\n", report.verdict, "\n");
}

std::string ToJson(const Report& report) {
  json points = json::array(), knees = json::array(), arms = json::array(), how = json::object();
  for (const ReportPoint& point : report.points) {
    points.push_back({{"concurrency", point.concurrency},
                      {"tokens_per_second", point.tokens_per_second},
                      {"tokens_per_second_ci95", point.tokens_per_second_ci95},
                      {"mean_ms_per_token", point.mean_ms_per_token},
                      {"p90_tpot_ms", OrNull(point.p90_tpot_ms)},
                      {"p90_ttft_ms", OrNull(point.p90_ttft_ms)},
                      {"p90_e2e_ms", OrNull(point.p90_e2e_ms)},
                      {"requests", point.requests},
                      {"refused", point.refused},
                      {"little_ratio", OrNull(point.little_ratio)},
                      {"phase", point.phase}});
  }
  for (const ReportKnee& knee : report.knees) {
    knees.push_back({{"definition", knee.definition},
                     {"concurrency", OrNull(knee.concurrency)},
                     {"meaning", knee.meaning},
                     {"chosen", knee.chosen}});
  }
  for (const ReportArm& arm : report.arms) {
    arms.push_back({{"name", arm.name},
                    {"p90_ms", OrNull(arm.p90_ms)},
                    {"goodput_tokens_per_second", arm.goodput_tokens_per_second},
                    {"completed", arm.completed},
                    {"refused", arm.refused},
                    {"failed", arm.failed}});
  }
  for (const auto& [name, value] : report.how) how[name] = value;
  json law = nullptr;
  if (report.law) {
    law = {{"a_ms", report.law->a_ms},
           {"b_ms", report.law->b_ms},
           {"cap", OrNull(report.law->cap)},
           {"error_ratio", report.law->error_ratio}};
  }
  json all = {{"title", report.title},
              {"verdict", report.verdict},
              {"points", points},
              {"law", law},
              {"knees", knees},
              {"limit", report.limit ? json(*report.limit) : json(nullptr)},
              {"bound_by", report.bound_by},
              {"arms", arms},
              {"how", how},
              {"note", report.note}};
  for (const auto& [name, url] : report.urls) all["urls"][name] = url;
  return all.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace patella::cli
