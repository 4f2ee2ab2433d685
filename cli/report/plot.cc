#include "cli/report/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/report/report.h"

namespace patella::cli {
namespace {

// Pixels of the drawing; the page scales it.
constexpr double kWidth = 640, kHeight = 400;
constexpr double kLeft = 58, kRight = 566, kTop = 30, kBottom = 346;
constexpr double kLabelHeight = 17;
constexpr double kCharWidth = 6.4;  // of a label's font, a little generous

std::string Px(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

std::string Text(double x, double y, std::string_view style, std::string_view text, std::string_view anchor = "start") {
  return "<text x=\"" + Px(x) + "\" y=\"" + Px(y) + "\" class=\"" + std::string(style) + "\" text-anchor=\"" +
         std::string(anchor) + "\">" + EscapeHtml(text) + "</text>\n";
}

std::string Segment(double x1, double y1, double x2, double y2, std::string_view style) {
  return "<line x1=\"" + Px(x1) + "\" y1=\"" + Px(y1) + "\" x2=\"" + Px(x2) + "\" y2=\"" + Px(y2) + "\" class=\"" +
         std::string(style) + "\"/>\n";
}

size_t Characters(std::string_view utf8) {
  return static_cast<size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::vector<double> RoundTicks(double max, int wanted) {
  if (!(max > 0) || !std::isfinite(max)) return {0, 1};
  const double raw = max / std::max(1, wanted);
  const double power = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= raw * 0.999) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> ticks;
  for (int i = 0; ticks.empty() || ticks.back() < max * 0.999; ++i) ticks.push_back(i * step);
  return ticks;
}

Plot::Plot(std::string name, Axis x, Axis y, Callouts side)
    : name_(std::move(name)), x_(std::move(x)), y_(std::move(y)), side_(side) {
  x_.max = RoundTicks(x_.max, 6).back();
  y_.max = RoundTicks(y_.max, 5).back();
}

double Plot::PixelX(double x) const { return kLeft + (kRight - kLeft) * x / x_.max; }
double Plot::PixelY(double y) const { return kBottom - (kBottom - kTop) * y / y_.max; }

std::string Plot::Path(const std::vector<PlotPoint>& points, char first) const {
  std::string path;
  for (const PlotPoint& point : points) {
    path += path.empty() ? first : 'L';
    path += Px(PixelX(point.x)) + " " + Px(PixelY(point.y));
  }
  return path;
}

void Plot::Line(const std::vector<PlotPoint>& points, std::string_view style) {
  body_ += "<path clip-path=\"url(#clip-" + name_ + ")\" d=\"" + Path(points, 'M') + "\" class=\"" +
           std::string(style) + "\"/>\n";
}

void Plot::Band(const std::vector<PlotPoint>& upper, const std::vector<PlotPoint>& lower, std::string_view style) {
  const std::vector<PlotPoint> back(lower.rbegin(), lower.rend());
  body_ += "<path clip-path=\"url(#clip-" + name_ + ")\" d=\"" + Path(upper, 'M') + Path(back, 'L') + "Z\" class=\"" +
           std::string(style) + "\"/>\n";
}

void Plot::Dot(PlotPoint at, double radius, std::string_view style, std::string_view tooltip, std::string_view text) {
  if (at.y > y_.max || at.x > x_.max) return;
  const double x = PixelX(at.x), y = PixelY(at.y);
  body_ += "<circle cx=\"" + Px(x) + "\" cy=\"" + Px(y) + "\" r=\"" + Px(radius) + "\" class=\"" + std::string(style) +
           "\"><title>" + EscapeHtml(tooltip) + "</title></circle>\n";
  if (!text.empty()) body_ += Text(x + radius + 4, y + 14, "small", text);
}

void Plot::Whisker(double x, double from_y, double to_y, std::string_view style) {
  const double top = PixelY(std::min(to_y, y_.max)), at = PixelX(x);
  body_ += Segment(at, PixelY(std::min(from_y, y_.max)), at, top, style) + Segment(at - 4, top, at + 4, top, style);
}

void Plot::HorizontalLine(double y, std::string_view style, std::string_view label) {
  if (y > y_.max) return;
  const std::string text_style = std::string(style) + "-text small";
  body_ += Segment(kLeft, PixelY(y), kRight, PixelY(y), style) + Text(kRight + 6, PixelY(y) + 4, text_style, label);
}

void Plot::VerticalLine(double x, std::string_view style, std::string_view label) {
  if (x > x_.max) return;
  const std::string text_style = std::string(style) + "-text small";
  body_ +=
      Segment(PixelX(x), kBottom, PixelX(x), kTop - 4, style) + Text(PixelX(x), kTop - 9, text_style, label, "middle");
}

void Plot::Callout(PlotPoint at, std::string_view style, std::string label) {
  if (at.y > y_.max || at.x > x_.max) return;
  callouts_.push_back({PixelX(at.x), PixelY(at.y), std::string(style), std::move(label)});
}

std::string Plot::Axes() const {
  std::string out;
  for (double tick : RoundTicks(y_.max, 5)) {
    out += Segment(kLeft, PixelY(tick), kRight, PixelY(tick), tick == 0 ? "axis" : "grid");
    out += Text(kLeft - 8, PixelY(tick) + 4, "small", Number(tick), "end");
  }
  for (double tick : RoundTicks(x_.max, 6)) {
    out += Segment(PixelX(tick), kBottom, PixelX(tick), kBottom + 5, "axis");
    out += Text(PixelX(tick), kBottom + 19, "small", Number(tick), "middle");
  }
  out += Text((kLeft + kRight) / 2, kBottom + 42, "title", x_.title, "middle");
  out += "<text transform=\"translate(14 " + Px((kTop + kBottom) / 2) +
         ") rotate(-90)\" class=\"title\" text-anchor=\"middle\">" + EscapeHtml(y_.title) + "</text>\n";
  return out;
}

namespace {

std::string Leader(double from_x, double from_y, double to_x, double to_y) {
  return "<path d=\"M" + Px(from_x) + " " + Px(from_y) + "L" + Px(to_x) + " " + Px(to_y) + "\" class=\"leader\"/>\n";
}

std::string Diamond(double x, double y, std::string_view style) {
  const std::string at = Px(x) + " " + Px(y);
  return "<rect x=\"" + Px(x - 4.5) + "\" y=\"" + Px(y - 4.5) + "\" width=\"9\" height=\"9\" transform=\"rotate(45 " +
         at + ")\" class=\"" + std::string(style) + "\"/>\n";
}

}  // namespace

// The lowest marker's label comes first; each next one stands at least a line higher.
std::string Plot::CalloutsLeftAbove() const {
  std::vector<Label> sorted = callouts_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Label& a, const Label& b) { return a.y > b.y; });
  std::string leaders, labels;
  double last = kBottom;
  for (const Label& label : sorted) {
    const double width = kCharWidth * static_cast<double>(Characters(label.text));
    last = std::max(kTop + 8, std::min(label.y - 20, last - kLabelHeight));
    const double x = std::max(kLeft + 8 + width, label.x - 26);
    leaders += Leader(x + 3, last - 4, label.x, label.y) + Diamond(label.x, label.y, label.style);
    labels += Text(x, last, label.style + "-text label", label.text, "end");
  }
  return leaders + labels;
}

// The highest marker's label comes first; each next one stands at least a line lower. When they would leave the plot, all move up.
std::string Plot::CalloutsRightBelow() const {
  std::vector<Label> sorted = callouts_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Label& a, const Label& b) { return a.y < b.y; });
  std::vector<double> lines;
  for (const Label& label : sorted)
    lines.push_back(std::max(label.y + 26, lines.empty() ? 0 : lines.back() + kLabelHeight));
  double limit = kBottom - 8;
  for (size_t i = lines.size(); i-- > 0;) {
    lines[i] = std::min(lines[i], limit);
    limit -= kLabelHeight;
  }
  std::string leaders, labels;
  for (size_t i = 0; i < sorted.size(); ++i) {
    const Label& label = sorted[i];
    const double width = kCharWidth * static_cast<double>(Characters(label.text));
    const double x = std::min(kRight - width, label.x + 40);
    leaders += Leader(x - 3, lines[i] - 4, label.x, label.y) + Diamond(label.x, label.y, label.style);
    labels += Text(x, lines[i], label.style + "-text label", label.text);
  }
  return leaders + labels;
}

std::string Plot::Svg() const {
  std::string out = "<svg viewBox=\"0 0 " + Px(kWidth) + " " + Px(kHeight) + "\" role=\"img\" aria-label=\"" +
                    EscapeHtml(y_.title) + " over " + EscapeHtml(x_.title) + "\">\n";
  out += "<clipPath id=\"clip-" + name_ + "\"><rect x=\"" + Px(kLeft) + "\" y=\"" + Px(kTop) + "\" width=\"" +
         Px(kRight - kLeft) + "\" height=\"" + Px(kBottom - kTop) + "\"/></clipPath>\n";
  return out + Axes() + body_ + (side_ == Callouts::kLeftAbove ? CalloutsLeftAbove() : CalloutsRightBelow()) +
         "</svg>\n";
}

}  // namespace patella::cli
