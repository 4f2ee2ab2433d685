// The style sheet of the HTML report, for light and dark.
#pragma once

#include <string_view>

namespace patella::cli {

inline constexpr std::string_view kStyle = R"css(
:root{--page:#f6f5f2;--card:#fff;--ink:#1c2330;--soft:#667085;--rule:#e4e2dc;--curve:#2457d6;--band:#2457d61f;--point:#1c2330;
--knee:#8a4fd3;--target:#d1495b;--limit:#0b8a5f;--good:#0b8a5f;--warning:#b7791f;--bad:#c2334a;--theirs:#b9bdc7;--code:#f1f0ec;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--page:#12151c;--card:#1a1f29;--ink:#e8eaf0;--soft:#98a1b3;--rule:#2c3341;--curve:#7aa2ff;--band:#7aa2ff26;
--point:#e8eaf0;--knee:#c39bff;--target:#ff7d8d;--limit:#4fd1a1;--good:#4fd1a1;--warning:#e5b567;--bad:#ff7d8d;--theirs:#525b6c;--code:#232a37}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
header,main{max-width:1180px;margin:0 auto;padding:0 28px}
header{padding-top:40px}
.brand{font-weight:700;letter-spacing:.14em;text-transform:uppercase;font-size:12px;color:var(--curve)}
h1{font-size:30px;line-height:1.2;margin:6px 0 4px;letter-spacing:-.01em}
h2{font-size:18px;margin:0 0 10px;letter-spacing:-.005em}
h3{font-size:14px;font-weight:600;margin:0 0 12px}
.lead,figcaption,.figures span,dt{color:var(--soft)}
.lead{margin:0 0 18px}
section{background:var(--card);border:1px solid var(--rule);border-radius:14px;padding:24px 26px;margin:18px 0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:26px 34px}
.bare{padding:0}
figure{margin:0;min-width:0}
figcaption{font-size:13.5px;margin-top:8px}
.verdict{border-left:6px solid var(--soft)}
.verdict p{font-size:22px;line-height:1.4;margin:0;letter-spacing:-.005em}
.verdict.good{border-left-color:var(--good)}.verdict.warning{border-left-color:var(--warning)}.verdict.bad{border-left-color:var(--bad)}
.figures{display:flex;flex-wrap:wrap;gap:14px 44px;margin-top:20px}
.figures b{display:block;font-size:28px;line-height:1.15;font-variant-numeric:tabular-nums}
.figures span{font-size:13.5px}
.note{border-left:6px solid var(--warning)}
svg{width:100%;height:auto;display:block;overflow:visible}
svg text{fill:var(--ink);font-size:12.5px}
svg .small{font-size:12px;fill:var(--soft)}svg .title{font-size:12.5px;fill:var(--soft)}
.grid{stroke:var(--rule)}.axis{stroke:var(--soft);stroke-opacity:.6}
.law{fill:none;stroke:var(--curve);stroke-width:2.4;stroke-linejoin:round}.band{fill:var(--band)}
.point{fill:var(--card);stroke:var(--point);stroke-width:2}.verify{fill:var(--limit);stroke:var(--card);stroke-width:1.5}
.leader{stroke:var(--knee);stroke-opacity:.55;fill:none}.knee{fill:var(--knee)}
svg .knee-text{fill:var(--knee)}
svg .label{paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
.target{stroke:var(--target);stroke-width:1.6;stroke-dasharray:6 4}.limit{stroke:var(--limit);stroke-width:1.8}
svg .target-text{fill:var(--target)}svg .limit-text{fill:var(--limit);font-weight:600}
.bars{display:grid;gap:4px}
.bar-name{font-size:14px;margin-top:6px}
.track{position:relative;height:30px;display:flex;align-items:center}
.bar{height:100%;border-radius:5px}.ours{background:var(--limit)}.theirs{background:var(--theirs)}
.bar-value{position:absolute;margin-left:10px;font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap}
.mark{position:absolute;top:-4px;bottom:-4px;border-left:2px dashed var(--target)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14.5px;font-variant-numeric:tabular-nums}
th,td{padding:8px 12px;text-align:right;border-bottom:1px solid var(--rule);vertical-align:top}
thead th{font-weight:500;color:var(--soft);font-size:13px;vertical-align:bottom}
tbody th{font-weight:600;white-space:nowrap}
tbody tr:last-child>*{border-bottom:0}
th:first-child{text-align:left;padding-left:0}
.wide{text-align:left;min-width:300px}
.chosen>*{background:color-mix(in srgb,var(--limit) 10%,transparent)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:6px 20px;margin:0;font-size:14.5px}
dd{margin:0;font-variant-numeric:tabular-nums}
pre{background:var(--code);border-radius:8px;padding:10px 14px;margin:0 0 8px;overflow-x:auto;font:13.5px/1.5 ui-monospace,"DejaVu Sans Mono",monospace}
@media print{body{background:#fff}section{break-inside:avoid}}
)css";

}  // namespace patella::cli
