// The reference implementation of OpenID Connect, with people who need no password: whoever is sent
// to /interaction/… is whom `as` of the cookie jar's owner says.
//
// node provider.mjs PORT BACK prints "ready" once it listens on loopback.
import { createServer } from "node:http";
import Provider from "oidc-provider";

const [port, back] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

const people = {
  ada: { preferred_username: "ada", groups: ["staff", "others"] },
  boss: { preferred_username: "boss", groups: [] },
  odd: { preferred_username: "Not A Name", groups: [] },
};

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "desk/lab 7",
      client_secret: "s3cret: of +desk&%",
      redirect_uris: [back],
      response_types: ["code"],
      grant_types: ["authorization_code"],
    },
  ],
  claims: { openid: ["sub"], profile: ["preferred_username", "groups"] },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false } },
  findAccount: (_ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, ...people[id] }),
  }),
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  cookies: { keys: ["of a test"] },
});

const handle = provider.callback();

async function interact(request, response) {
  const who = new URL(request.url, issuer).searchParams.get("as");
  const { prompt, params, session, grantId } = await provider.interactionDetails(
    request,
    response,
  );
  if (who === "nobody") {
    const result = { error: "access_denied", error_description: "They do not want to." };
    return provider.interactionFinished(request, response, result);
  }
  if (prompt.name === "login") {
    const result = { login: { accountId: who } };
    return provider.interactionFinished(request, response, result);
  }
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  const result = { consent: { grantId: await grant.save() } };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

createServer((request, response) => {
  if (request.url.startsWith("/interaction/")) {
    interact(request, response).catch((error) => {
      response.statusCode = 500;
      response.end(String(error));
    });
  } else {
    handle(request, response);
  }
}).listen(Number(port), "127.0.0.1", () => console.log("ready"));
