import { connect } from "/sallyport-client.js";

const STATES = {
  connecting: "connecting…",
  open: "connected",
  reconnecting: "reconnecting…",
  denied: "no access",
  closed: "not connected",
};
const element = (id) => document.getElementById(id);
let socket;
const { user, url } = await (await fetch("/api/session")).json();

element("sign-in").onsubmit = async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ name: element("name").value });
  const headers = { "content-type": "application/json" };
  const response = await fetch("/api/session", { method: "POST", headers, body });
  if (response.ok) location.reload();
  else element("status").textContent = `The sign-in was rejected with ${response.status}.`;
};
element("sign-out").onclick = async () => {
  await fetch("/api/session", { method: "DELETE" });
  location.reload();
};

if (user === null) {
  element("status").textContent = "Not signed in";
  element("sign-in").hidden = false;
} else if (url === null) {
  element("status").textContent = "No WebSocket URL: run npm run dev, or set SALLYPORT_URL in production.";
} else {
  start();
}

function start() {
  for (const id of ["sign-out", "messages"]) element(id).hidden = false;
  socket = connect({ url, token: "/api/ws-token", view: "/ws/chat" });
  const showState = () => {
    element("status").textContent = `${user}: ${STATES[socket.state]}`;
  };
  socket.on("state", (state) => {
    showState();
    element("say").hidden = state !== "open";
    if (state !== "denied") element("denied").hidden = true;
  });
  socket.on("denied", ({ status, error, reference }) => {
    showDenial(status === 0 ? error : `${status} ${error}`, reference, status === 403);
  });
  socket.on("revoked", ({ scope, reference }) => {
    if (scope === "view") showDenial("Your access has ended.", reference, true);
  });
  socket.on("error", showError);
  socket.on("message", (message) => {
    if (message.type === "message") showMessage(message);
    else document.getElementById(message.id)?.remove();
  });
  element("retry").onclick = () => socket.reconnect();
  element("say").onsubmit = async (event) => {
    event.preventDefault();
    const text = element("text");
    try {
      await socket.call.say({ text: text.value });
      text.value = "";
      showState();
    } catch (error) {
      showError(error);
    }
  };
}

/** Shows the error of a call or of a connection, such as "Permission denied.", and its reference. */
function showError({ message, reference }) {
  element("status").textContent = reference ? `${message} Run: npx sallyport why ${reference}` : message;
}

function showDenial(reason, reference, lacksPermission) {
  element("denied").hidden = false;
  const commands = [];
  if (reference) commands.push(`npx sallyport why ${reference}`);
  if (lacksPermission) commands.push(`npx sallyport users grant ${user} chat.use`);
  const purpose = lacksPermission ? "see why and to give access" : "see why";
  const advice = `Run this in a second terminal to ${purpose}:`;
  element("reason").textContent = commands.length > 0 ? `${reason} ${advice}` : reason;
  element("command").textContent = commands.join("\n");
}

function showMessage({ id, from, text }) {
  const item = document.createElement("li");
  item.id = id;
  const name = document.createElement("b");
  name.textContent = from;
  const remove = document.createElement("button");
  remove.type = "button";
  remove.textContent = "Remove";
  remove.onclick = () => socket.call.remove({ messageId: id }).catch(showError);
  item.append(name, " ", text, " ", remove);
  element("messages").append(item);
  item.scrollIntoView();
}
