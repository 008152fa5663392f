// Runs before everything else on the page: keeps errors, refused requests and attempts to run what the guest wrote.
window.watched = [];
for (const name of ["error", "warn"]) console[name] = (...parts) => window.watched.push(`console.${name}: ${parts.join(" ")}`);
addEventListener("error", (e) => window.watched.push(`error: ${e.message || (e.target && e.target.outerHTML)}`), true);
addEventListener("unhandledrejection", (e) => window.watched.push(`rejection: ${e.reason}`));
document.addEventListener("securitypolicyviolation", (e) => window.watched.push(`refused: ${e.violatedDirective} ${e.blockedURI}`));
