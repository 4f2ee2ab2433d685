#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "cli/report/plot.h"
#include "cli/report/report.h"

namespace patella::cli {
namespace {

constexpr int kRows = 14;  // of characters; each has 2 × 4 dots
constexpr int kLawSteps = 400;

enum Ink : unsigned char { kNone, kLaw, kTarget, kLimit, kMeasured };  // the later wins a character's colour
constexpr std::array<const char*, 5> kAnsi = {"", "\x1b[34m", "\x1b[31m", "\x1b[32m", "\x1b[1m"};

size_t Characters(std::string_view utf8) {
  return static_cast<size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string PadLeft(const std::string& text, size_t width) {
  const size_t used = Characters(text);
  return std::string(used < width ? width - used : 0, ' ') + text;
}

class Canvas {
 public:
  Canvas(int columns, double x_max, double y_max)
      : columns_(columns), x_max_(x_max), y_max_(y_max), cells_(static_cast<size_t>(columns) * kRows) {}

  void Dot(double x, double y, Ink ink) {
    const int px = static_cast<int>(std::lround(x / x_max_ * (columns_ * 2 - 1)));
    const int py = static_cast<int>(std::lround((1 - y / y_max_) * (kRows * 4 - 1)));
    if (px < 0 || py < 0 || px >= columns_ * 2 || py >= kRows * 4) return;
    Cell& cell = At(px / 2, py / 4);
    static constexpr unsigned char kBits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    cell.dots |= kBits[py % 4][px % 2];
    cell.ink = std::max(cell.ink, ink);
  }

  void Mark(double x, double y) {
    const int column = static_cast<int>(std::lround(x / x_max_ * (columns_ - 1)));
    const int row = static_cast<int>(std::lround((1 - y / y_max_) * (kRows - 1)));
    if (column < 0 || row < 0 || column >= columns_ || row >= kRows) return;
    At(column, row) = {.dots = 0, .ink = kMeasured};
  }

  std::string Row(int row, bool colour) const {
    std::string out;
    for (int column = 0; column < columns_; ++column) {
      const Cell& cell = cells_[static_cast<size_t>(row * columns_ + column)];
      const bool tint = colour && cell.ink != kNone;
      if (tint) out += kAnsi[cell.ink];
      out += cell.dots == 0 ? (cell.ink == kMeasured ? "●" : " ") : Braille(cell.dots);
      if (tint) out += "\x1b[0m";
    }
    if (!colour) out.erase(out.find_last_not_of(' ') + 1);
    return out;
  }

 private:
  struct Cell {
    unsigned char dots = 0;
    Ink ink = kNone;
  };
  Cell& At(int column, int row) { return cells_[static_cast<size_t>(row * columns_ + column)]; }

  static std::string Braille(unsigned char dots) {  // U+2800 + dots
    return {'\xE2', static_cast<char>(0xA0 | (dots >> 6)), static_cast<char>(0x80 | (dots & 0x3F))};
  }

  int columns_;
  double x_max_, y_max_;
  std::vector<Cell> cells_;
};

double LawMs(const ReportLaw& law, double c) {
  const double cap = law.cap.value_or(INFINITY);
  return (law.a_ms + law.b_ms * std::min(c, cap)) * std::max(1.0, c / cap);
}

}  // namespace

std::string Number(double value) {
  if (!std::isfinite(value)) return "–";
  char text[48];
  const double magnitude = std::fabs(value);
  int decimals = magnitude >= 99.95 ? 0 : magnitude >= 9.995 ? 1 : magnitude >= 0.9995 || magnitude == 0 ? 2 : 3;
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  std::string number = text;
  if (number.find('.') != std::string::npos) {
    number.erase(number.find_last_not_of('0') + 1);
    if (number.back() == '.') number.pop_back();
  }
  return number == "-0" ? "0" : number;
}

std::string RenderTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Characters(row[i]));
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      line += i == 0 ? row[i] + std::string(widths[i] - Characters(row[i]), ' ') : PadLeft(row[i], widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string RenderTerminalPlot(const Report& report, int columns, bool colour) {
  if (report.points.size() < 2) return "";
  double x_max = 1, y_max = 1;
  for (const ReportPoint& point : report.points) {
    x_max = std::max(x_max, point.tokens_per_second);
    y_max = std::max(y_max, point.mean_ms_per_token);
  }
  if (report.target && report.target->per_token) y_max = std::max(y_max, report.target->limit_ms);
  x_max = RoundTicks(1.05 * x_max, 5).back();
  y_max = RoundTicks(1.05 * y_max, 4).back();
  constexpr size_t kMargin = 6;
  Canvas canvas(std::max(20, columns - static_cast<int>(kMargin) - 2), x_max, y_max);
  const int width = std::max(20, columns - static_cast<int>(kMargin) - 2);
  if (report.target && report.target->per_token) {
    for (int i = 0; i < width * 2; i += 3) canvas.Dot(x_max * i / (width * 2), report.target->limit_ms, kTarget);
  }
  if (report.law) {
    double most = 1;
    for (const ReportPoint& point : report.points) most = std::max(most, static_cast<double>(point.concurrency));
    for (int i = 0; i <= kLawSteps; ++i) {
      const double c =
          1 + (most - 1) * i / kLawSteps;  // only where it was measured: beyond, it is a wall at the top throughput
      const double ms = LawMs(*report.law, c);
      canvas.Dot(1e3 * c / ms, ms, kLaw);
    }
    if (report.limit) {
      const double ms = LawMs(*report.law, *report.limit), at = 1e3 * *report.limit / ms;
      for (int i = 0; i <= kRows * 4; i += 2) canvas.Dot(at, std::min(ms, y_max) * i / (kRows * 4), kLimit);
    }
  }
  for (const ReportPoint& point : report.points) canvas.Mark(point.tokens_per_second, point.mean_ms_per_token);

  std::string out = "ms per token\n";
  for (int row = 0; row < kRows; ++row) {
    const bool labelled = row == 0 || row == kRows - 1 || row == kRows / 2;
    const double value = y_max * (1 - static_cast<double>(row) / (kRows - 1));
    out += PadLeft(labelled ? Number(value) : "", kMargin) + " │" + canvas.Row(row, colour) + "\n";
  }
  out += std::string(kMargin, ' ') + " └";
  for (int i = 0; i < width; ++i) out += "─";
  const std::string right = Number(x_max) + " tokens/s";
  out += "\n" + std::string(kMargin + 2, ' ') + "0" + PadLeft(right, static_cast<size_t>(width - 1)) + "\n";
  return out;
}

}  // namespace patella::cli
